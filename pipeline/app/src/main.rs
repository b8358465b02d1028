//! The millstream binary. Everything is in the library, so that tests can run it under another name.

fn main() -> std::process::ExitCode {
    millstream::main()
}
