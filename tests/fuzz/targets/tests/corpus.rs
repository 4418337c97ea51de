//! Every target over every file of its corpus, without a fuzzer.

use sockd_fuzz_targets::TARGETS;
use std::fs;
use std::path::{Path, PathBuf};

fn fuzz(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)
}

/// The files of a target's corpus, in the order of their names.
fn corpus(target: &str) -> Vec<PathBuf> {
    let folder = fuzz("corpus").join(target);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files
}

#[test]
fn no_file_of_a_corpus_breaks_a_property() {
    for (name, target) in TARGETS {
        let files = corpus(name);
        assert!(!files.is_empty(), "{name} has no corpus");
        for file in files {
            // The test shows this only if the target panics.
            println!("{}", file.display());
            target(&fs::read(&file).expect("a readable file"));
        }
    }
}

#[test]
fn the_fuzzer_has_a_program_for_every_target_and_no_other() {
    let manifest = fs::read_to_string(fuzz("Cargo.toml")).expect("a manifest");
    let programs = manifest.split("[[bin]]").skip(1).filter_map(|program| program.split('"').nth(1));
    assert!(programs.eq(TARGETS.map(|(name, _)| name)));
    let folders =
        fs::read_dir(fuzz("corpus")).expect("a folder").map(|entry| entry.expect("an entry").file_name());
    let mut folders: Vec<String> = folders.filter_map(|name| name.into_string().ok()).collect();
    folders.sort();
    let mut names = TARGETS.map(|(name, _)| name);
    names.sort_unstable();
    assert_eq!(folders, names);
}

#[test]
fn the_corpora_stay_small() {
    let sizes = TARGETS.map(|(name, _)| {
        let files = corpus(name);
        let size: u64 = files.iter().map(|file| fs::metadata(file).expect("a file").len()).sum();
        assert!(size <= 100 << 10, "{name} has {size} bytes");
        size
    });
    assert!(sizes.iter().sum::<u64>() < 1 << 20);
}
