//! What the tests start as a process of its own: millstream itself, or the database server that they share.

fn main() -> std::process::ExitCode {
    match std::env::args_os().nth(1) {
        Some(first) if first == millstream_tests::database::HOLD => millstream_tests::database::hold(),
        _ => millstream::main(),
    }
}
