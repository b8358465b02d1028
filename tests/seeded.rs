//! The seeded faults: each must still apply to the code, so that `tests/seeded/run.sh` can prove that a test notices it.

use std::path::Path;
use std::process::Command;

#[test]
fn every_seeded_fault_still_applies() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeded/run.sh");
    let ran = Command::new(script).arg("--check").output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "{said}");
    let count = said.split_whitespace().next().and_then(|word| word.parse::<u32>().ok());
    assert!(count.is_some_and(|count| count >= 49), "{said}");
}
