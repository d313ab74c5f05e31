//! A small disk that can be filled up: a tmpfs.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};

use crate::binaries;

/// A mounted tmpfs; unmounted when dropped.
#[derive(Debug)]
pub struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    /// Mounts a disk of so many bytes over the folder, which is made if need be. `None`, said loudly, where this process
    /// may not mount.
    ///
    /// # Panics
    /// The folder cannot be made.
    #[must_use]
    pub fn mount(path: &Path, bytes: u64) -> Option<Self> {
        fs::create_dir_all(path).unwrap();
        let output = Command::new(binaries::system("mount"))
            .args(["-t", "tmpfs", "-o", &format!("size={bytes},mode=0755"), "e2e-small-disk"])
            .arg(path)
            .output()
            .unwrap();
        if !output.status.success() {
            eprintln!(
                "PASSED OVER: no small disk can be mounted here, so a full disk is NOT tested: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            );
            return None;
        }
        Some(Self { path: path.to_owned() })
    }

    fn ballast(&self) -> PathBuf {
        self.path.join("ballast")
    }

    /// Writes until nothing more fits.
    ///
    /// # Panics
    /// The file cannot be made.
    pub fn fill(&self) {
        let mut file = File::options().create(true).append(true).open(self.ballast()).unwrap();
        for size in [1 << 20, 4096, 1] {
            let block = vec![0xa5; size];
            while file.write_all(&block).is_ok() {}
        }
    }

    /// Makes room again.
    ///
    /// # Panics
    /// The ballast cannot be removed.
    pub fn free(&self) {
        if let Err(error) = fs::remove_file(self.ballast()) {
            assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{error}");
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: whoever still has a file open does not keep the folder from being removed.
        let unmounted = Command::new(binaries::system("umount")).arg("-l").arg(&self.path).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("{} stays mounted: umount it by hand", self.path.display());
        }
    }
}
