//! Links the worker statically: it is executed in an empty root file system, where no loader and no library is.
//!
//! The target of the workspace links dynamically, and rustc names `libgcc_s` and `libc` to the linker by itself. So
//! two linker scripts of these names stand first on the search path and send both to the static archives.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=CC");
    if env::var("CARGO_CFG_TARGET_FEATURE")
        .is_ok_and(|features| features.split(',').any(|f| f == "crt-static"))
    {
        return;
    }
    let out = env::var_os("OUT_DIR").map(PathBuf::from).unwrap_or_else(|| fail("cargo did not set OUT_DIR"));
    let (libc, eh, gcc) = (archive("libc.a"), archive("libgcc_eh.a"), archive("libgcc.a"));
    write(&out.join("libgcc_s.a"), &format!("GROUP ( {eh} {gcc} )\n"));
    write(&out.join("libc.a"), &format!("GROUP ( {libc} {eh} {gcc} )\n"));
    println!("cargo:rustc-link-arg-bins=-L{}", out.display());
    println!("cargo:rustc-link-arg-bins=-static-pie");
    // A static-pie program linked by lld crashes before its first instruction.
    println!("cargo:rustc-link-arg-bins=-fuse-ld=bfd");
}

/// The path of a static library, as the C compiler knows it.
fn archive(name: &str) -> String {
    let cc = env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    let output = Command::new(&cc).arg(format!("-print-file-name={name}")).output();
    let path = match output {
        Ok(output) => String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        Err(error) => fail(&format!("cannot run `{cc}`: {error}")),
    };
    // A name that it does not find comes back as it was given.
    if !Path::new(&path).is_absolute() || !Path::new(&path).exists() {
        fail(&format!(
            "`{cc}` knows no static {name}: the worker is linked statically, so install the C library's static \
             archive (Debian: libc6-dev, Fedora: glibc-static)"
        ));
    }
    path
}

fn write(path: &Path, text: &str) {
    if let Err(error) = fs::write(path, text) {
        fail(&format!("cannot write {}: {error}", path.display()));
    }
}

fn fail(why: &str) -> ! {
    println!("cargo:warning={why}");
    eprintln!("{why}");
    std::process::exit(1)
}
