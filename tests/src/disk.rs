//! A disk that can be filled up: a tmpfs.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::binaries;

/// A mounted tmpfs; unmounted when dropped.
#[derive(Debug)]
pub struct SmallDisk {
    path: PathBuf,
    bytes: u64,
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
        Some(Self { path: path.to_owned(), bytes })
    }

    fn ballast(&self) -> PathBuf {
        self.path.join("ballast")
    }

    /// Nothing more fits on it from now on. It shrinks to what is on it, so that filling a large disk takes no memory.
    ///
    /// # Panics
    /// It cannot be shrunk.
    pub fn fill(&self) {
        // What is written between the two steps makes the second fail.
        for _ in 0..1000 {
            let about = rustix::fs::statvfs(&self.path).unwrap();
            let used = (about.f_blocks - about.f_bfree) * about.f_frsize;
            if self.resize(used.max(about.f_frsize)) {
                let mut file = File::options().create(true).append(true).open(self.ballast()).unwrap();
                while file.write_all(&[0xa5; 512]).is_ok() {}
                return;
            }
        }
        panic!("{} cannot be shrunk", self.path.display());
    }

    /// Makes room again.
    ///
    /// # Panics
    /// It cannot grow again.
    pub fn free(&self) {
        assert!(self.resize(self.bytes), "{} cannot grow again", self.path.display());
        if let Err(error) = fs::remove_file(self.ballast()) {
            assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{error}");
        }
    }

    fn resize(&self, bytes: u64) -> bool {
        let options = format!("remount,size={bytes}");
        let mut mount = Command::new(binaries::system("mount"));
        mount.args(["-o", &options]).arg(&self.path).stderr(Stdio::null());
        mount.status().unwrap().success()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_takes_nothing_and_a_freed_one_takes_as_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        let Some(disk) = SmallDisk::mount(&path, 1 << 30) else { return };
        fs::write(path.join("before"), vec![1; 100_000]).unwrap();
        disk.fill();
        let error = fs::write(path.join("more"), b"x").unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
        disk.free();
        fs::write(path.join("more"), vec![1; 10_000_000]).unwrap();
        assert_eq!(fs::read(path.join("before")).unwrap().len(), 100_000);
        drop(disk);
        assert_eq!(fs::read_dir(&path).unwrap().count(), 0);
    }
}
