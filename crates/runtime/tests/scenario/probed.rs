//! A program with USDT probes (`objects/probed.c`), which passes one of them for each byte that it is given.

use std::fs::{self, Permissions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::equal::text;
use crate::objects::Objects;

/// A copy of it, which nobody else runs.
pub struct Probed {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

impl Probed {
    pub fn copy(objects: &Objects) -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(text)?;
        let path = folder.path().join("probed");
        fs::copy(objects.probed(), &path).map_err(text)?;
        fs::set_permissions(&path, Permissions::from_mode(0o755)).map_err(text)?;
        Ok(Self { _folder: folder, path })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn start(&self) -> Running {
        let mut command = Command::new(&self.path);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        Running(command.spawn().expect("the program with probes"))
    }
}

/// It ends with this.
pub struct Running(Child);

impl Running {
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Passes the probe's place of that letter; gives what it says then.
    pub fn pass(&mut self, place: u8) -> u8 {
        let Running(Child { stdin: Some(stdin), stdout: Some(stdout), .. }) = self else {
            panic!("it has no pipes");
        };
        stdin.write_all(&[place]).expect("a byte for it");
        let mut said = [0];
        stdout.read_exact(&mut said).expect("its byte");
        said[0]
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
