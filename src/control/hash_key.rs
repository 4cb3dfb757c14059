//! The hash key of a machine that was given none: made once, at random, and kept.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::config::HashKey;

/// The key where none is configured or kept, for commands that must give the same result each time and
/// carry no traffic: the bytes 0 to 15, as in SipHash's test vectors.
pub const REPLAY_KEY: HashKey = HashKey([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);

const FILE_NAME: &str = "hash_key";

/// The key cannot be kept.
#[derive(Debug)]
pub struct KeyError {
    path: PathBuf,
    error: std::io::Error,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, error } = self;
        write!(
            f,
            "{}: {error}; backends chosen by hash will change with the next start. Make the directory \
             writable, name another with --state-directory, or set hash_key",
            path.display()
        )
    }
}

/// The key kept in `directory`, if there is a good one.
pub fn stored(directory: &Path) -> Option<HashKey> {
    fs::read_to_string(directory.join(FILE_NAME)).ok().and_then(|text| parse(&text))
}

fn parse(text: &str) -> Option<HashKey> {
    let digits = text.trim().as_bytes();
    let mut key = [0; 16];
    if digits.len() != 2 * key.len() {
        return None;
    }
    for (byte, pair) in key.iter_mut().zip(digits.chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(HashKey(key))
}

/// The key kept in `directory`, or a new random one, and what kept it from being kept. A key that is there
/// and cannot be read is left as it is.
pub fn load_or_make(directory: &Path) -> (HashKey, Option<KeyError>) {
    let path = directory.join(FILE_NAME);
    let read = match fs::read_to_string(&path) {
        Ok(text) => match parse(&text) {
            Some(key) => return (key, None),
            None => Ok(()),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    };
    let mut key = [0; 16];
    // Without the system's random numbers the start's moment has to do: unknown to others, if not secret.
    if getrandom::fill(&mut key).is_err() {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        key = now.as_nanos().to_le_bytes();
    }
    let kept = read.and_then(|()| keep(directory, &path, &key)).err();
    (HashKey(key), kept.map(|error| KeyError { path, error }))
}

/// Whole or not at all: another name first, then the right one.
fn keep(directory: &Path, path: &Path, key: &[u8; 16]) -> std::io::Result<()> {
    fs::create_dir_all(directory)?;
    let new = directory.join(format!("{FILE_NAME}.{}", std::process::id()));
    // Who knows the key can aim at a backend: for our eyes only.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    let digits: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    let written =
        writeln!(file, "{digits}").and_then(|()| file.sync_all()).and_then(|()| fs::rename(&new, path));
    if written.is_err() {
        // The first error is the one to tell.
        let _ = fs::remove_file(&new);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_kept_and_a_bad_one_is_made_anew() {
        let directory = std::env::temp_dir().join(format!("guideway-key-{}", std::process::id()));
        assert_eq!(stored(&directory), None);
        let (key, error) = load_or_make(&directory);
        assert!(error.is_none());
        assert_eq!(stored(&directory), Some(key));
        assert_eq!(load_or_make(&directory).0, key);
        fs::write(directory.join(FILE_NAME), "not a key").unwrap();
        assert_eq!(stored(&directory), None);
        assert_ne!(load_or_make(&directory).0, key);
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_told() {
        let (_, error) = load_or_make(Path::new("/proc/guideway"));
        assert!(error.unwrap().to_string().contains("--state-directory"));
    }
}
