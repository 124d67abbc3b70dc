//! What the process does to itself before it reads a key: no core, no ptrace by its own user, no
//! file that others can read.

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// Call first thing; failures are told later by nobody, for the unit does the same from outside.
pub fn apply() {
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    let _ = setrlimit(Resource::Core, none);
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o027));
}
