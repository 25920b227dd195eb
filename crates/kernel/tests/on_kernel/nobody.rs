//! Without root: what is said, and that nothing half done stays.

use std::os::unix::process::CommandExt;
use std::process::Command;

use skep_kernel::{MapHandle, Program, program};

const NOBODY: u32 = 65534;

/// Runs `as-nobody` of this program as another user and reads what it says.
pub fn is_told_what_to_do() -> Result<String, String> {
    // Over its open file: the folders on the way may be closed to others.
    let own = std::fs::File::open("/proc/self/exe").map_err(|e| e.to_string())?;
    let mut command = Command::new("/proc/self/fd/0");
    command.stdin(own).arg("as-nobody").uid(NOBODY).gid(NOBODY);
    let output = command.output().map_err(|e| e.to_string())?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let wanted = [
        "cannot make the map refused: Operation not permitted",
        "cannot load the program refused: Operation not permitted",
        "run as root, or with CAP_BPF",
    ];
    match wanted.iter().find(|line| !said.contains(**line)) {
        None => Ok("each refusal says what to do".to_owned()),
        Some(line) => {
            Err(format!("'{line}' is not in '{said}' {}", String::from_utf8_lossy(&output.stderr)))
        }
    }
}

/// As a user without capabilities.
pub fn tries_in_vain() {
    let told = |e: skep_kernel::KernelError| println!("{}", crate::text(e));
    let _ = MapHandle::create_u64s("refused", 1).map_err(told);
    let kind = program::LoadKind { prog_type: 17, ..program::LoadKind::default() };
    let _ = Program::load("refused", &kind, &[]).map_err(told);
}
