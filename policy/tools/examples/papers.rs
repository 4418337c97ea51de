//! Writes man pages and completion files of all programs, from the options they really have:
//! `cargo run -p sockd-policy-tools --example papers -- FOLDER`.

use std::path::PathBuf;
use std::{env, fs, io};

use clap_complete::{Shell, generate_to};

fn main() -> io::Result<()> {
    let folder = env::args_os().nth(1).map(PathBuf::from);
    let folder = folder.ok_or_else(|| io::Error::other("expected a folder to write to"))?;
    fs::create_dir_all(&folder)?;
    for mut command in sockd_policy_tools::cli::commands() {
        let name = command.get_name().to_owned();
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            generate_to(shell, &mut command, &name, &folder)?;
        }
        let mut page = Vec::new();
        clap_mangen::Man::new(command).section("8").render(&mut page)?;
        fs::write(folder.join(format!("{name}.8")), page)?;
    }
    Ok(())
}
