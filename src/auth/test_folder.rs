//! A directory for one test, removed when the test ends.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("collabd-unit-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        // A killed test may have left a directory, and process numbers are reused.
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir(&directory).expect("a new directory");
        Scratch(directory)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The path of a key file in it, which doesn't exist yet.
    pub fn file(&self) -> PathBuf {
        self.0.join("keys.json")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
