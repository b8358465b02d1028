//! A real terminal emulator: a program runs in it, keys are pressed, the screen is read.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use crate::wait::until;

/// The farewell of a program that drains.
const ENDS_WITHIN: Duration = Duration::from_secs(60);

/// tmux 3.3 loses the exit code of a program now and then. What Ctrl-C asks of the program ends the shell only after it.
const NOTES_ITS_CODE: &str = r#"trap : INT; "$@"; echo $? >"$0""#;

/// A terminal of a tmux of its own. Dropped, it takes its program along.
#[derive(Debug)]
pub struct Tmux {
    directory: tempfile::TempDir,
    columns: usize,
}

impl Tmux {
    /// Runs a command line in a terminal of this size. `None` where tmux is not installed.
    ///
    /// # Panics
    /// If tmux does not start.
    pub fn start(columns: usize, rows: usize, words: &[&str]) -> Option<Tmux> {
        if !crate::has_program("tmux") {
            return None;
        }
        let directory = tempfile::tempdir().expect("make a directory");
        let settings = "set -g status off\nset -g remain-on-exit on\n";
        std::fs::write(directory.path().join("settings"), settings).expect("write settings");
        let tmux = Tmux { directory, columns };
        let columns = columns.to_string();
        let rows = rows.to_string();
        let code = tmux.code().display().to_string();
        let begin = ["new-session", "-d", "-x", &columns, "-y", &rows, "--", "sh", "-c", NOTES_ITS_CODE, &code];
        tmux.run(&[&begin, words].concat());
        Some(tmux)
    }

    fn code(&self) -> std::path::PathBuf {
        self.directory.path().join("code")
    }

    fn command(&self, arguments: &[&str]) -> Output {
        let place = |name: &str| self.directory.path().join(name);
        let mut command = Command::new("tmux");
        command.arg("-u").arg("-S").arg(place("socket")).arg("-f").arg(place("settings")).args(arguments);
        command.env("LC_ALL", "C.UTF-8").env_remove("TMUX").output().expect("start tmux")
    }

    fn run(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments);
        assert!(output.status.success(), "tmux {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Presses keys, one after the other, by the names that tmux has for them.
    ///
    /// # Panics
    /// If the terminal is gone.
    pub fn press(&self, keys: &[&str]) {
        self.run(&[&["send-keys"], keys].concat());
    }

    /// Gives the terminal another size.
    ///
    /// # Panics
    /// If the terminal is gone.
    pub fn resize(&mut self, columns: usize, rows: usize) {
        self.run(&["resize-window", "-x", &columns.to_string(), "-y", &rows.to_string()]);
        self.columns = columns;
    }

    /// How wide it is.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// What is on the screen, row by row.
    ///
    /// # Panics
    /// If the terminal is gone.
    pub fn screen(&self) -> Vec<String> {
        self.run(&["capture-pane", "-p"]).lines().map(str::to_owned).collect()
    }

    /// The same by lines: rows that the terminal itself has wrapped are one line, as for who copies them.
    ///
    /// # Panics
    /// If the terminal is gone.
    pub fn lines(&self) -> Vec<String> {
        self.run(&["capture-pane", "-p", "-J"]).lines().map(|line| line.trim_end().to_owned()).collect()
    }

    /// Waits for a row that contains a text; the row.
    ///
    /// # Panics
    /// If it does not come in time, with what is on the screen instead.
    pub async fn shows(&self, text: &str, within: Duration) -> String {
        let began = tokio::time::Instant::now();
        loop {
            let screen = self.lines();
            if let Some(row) = screen.iter().find(|row| row.contains(text)) {
                return row.clone();
            }
            assert!(began.elapsed() < within, "{text:?} does not appear on\n{}", screen.join("\n"));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits for the end of the program; its exit code.
    ///
    /// # Panics
    /// If it does not end in time.
    pub async fn ended(&self) -> String {
        until("the program in the terminal to end", ENDS_WITHIN, || async {
            let code = std::fs::read_to_string(self.code()).ok()?;
            code.strip_suffix('\n').map(str::to_owned)
        })
        .await
    }

    /// Closes the terminal while its program runs: the program is sent SIGHUP.
    pub fn close(&self) {
        self.command(&["kill-server"]);
    }

    /// Where files of the test may lie.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        self.close();
    }
}
