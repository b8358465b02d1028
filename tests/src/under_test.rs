//! What the tests start as a process of its own: millstream itself, or the database server that they share.

fn main() -> std::process::ExitCode {
    match std::env::args_os().nth(1) {
        Some(first) if first == millstream_tests::database::HOLD => millstream_tests::database::hold(),
        // Its parent is a terminal that goes away, and what it does then is asked.
        _ if std::env::var_os(millstream_tests::OUTLIVES_PARENT).is_some() => millstream::main(),
        _ => {
            // A test run that is killed leaves no process behind.
            let kill = Some(rustix::process::Signal::KILL);
            if rustix::process::set_parent_process_death_signal(kill).is_err() {
                return std::process::ExitCode::FAILURE;
            }
            millstream::main()
        }
    }
}
