//! Reads a machine's serial console and lets threads wait for text on it.

use std::io::Read;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use thiserror::Error;

/// Texts that only a dying kernel prints.
const PANICS: [&str; 2] = ["Kernel panic - not syncing", "end Kernel panic"];

/// How long a panicking kernel may go on printing before the wait ends.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Why a text did not come.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum WaitError {
    /// The time was up.
    #[error("timed out after {0:?}")]
    Timeout(Duration),
    /// The machine went off first.
    #[error("the machine went off")]
    Off,
    /// The guest's kernel panicked first.
    #[error("the guest's kernel panicked")]
    Panic,
}

/// The console so far, shared between its reader thread and those who wait.
#[derive(Clone, Debug, Default)]
pub struct Console(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    news: Condvar,
}

#[derive(Debug, Default)]
struct State {
    text: String,
    cleaner: Cleaner,
    closed: bool,
    read_up_to: usize,
}

impl Console {
    /// Reads `stream` on a thread until it closes. With `echo`, each line goes to stderr too, after that name.
    pub fn follow(mut stream: UnixStream, echo: Option<String>) -> Self {
        let console = Self::default();
        let writer = console.clone();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            let mut echoed = 0;
            while let Ok(n @ 1..) = stream.read(&mut buffer) {
                writer.feed(buffer.get(..n).unwrap_or_default());
                if let Some(name) = &echo {
                    echoed = writer.echo(name, echoed);
                }
            }
            writer.close();
        });
        console
    }

    /// The text so far, without carriage returns and terminal control sequences.
    #[must_use]
    pub fn text(&self) -> String {
        self.lock().text.clone()
    }

    /// The last `lines` lines.
    #[must_use]
    pub fn tail(&self, lines: usize) -> String {
        let state = self.lock();
        let all: Vec<&str> = state.text.lines().collect();
        all.get(all.len().saturating_sub(lines)..).unwrap_or_default().join("\n")
    }

    /// Waits until one of `texts` has been printed since the boot and returns its index.
    ///
    /// # Errors
    /// [`WaitError`], a panic of the guest's kernel and a machine that goes off ending the wait at once.
    pub fn wait_any(&self, texts: &[&str], timeout: Duration) -> Result<usize, WaitError> {
        self.wait(timeout, |state| texts.iter().position(|t| state.text.contains(t)))
    }

    /// Waits until `text` is printed after the place where the last call of this function found its text.
    ///
    /// # Errors
    /// As [`Console::wait_any`].
    pub fn wait_next(&self, text: &str, timeout: Duration) -> Result<(), WaitError> {
        self.wait(timeout, |state| {
            let rest = state.text.get(state.read_up_to..)?;
            state.read_up_to += rest.find(text)? + text.len();
            Some(())
        })
    }

    /// Waits until the console closes, which it does when the machine is off.
    ///
    /// # Errors
    /// [`WaitError::Timeout`], or [`WaitError::Panic`] if the kernel panicked and stays on.
    pub fn wait_closed(&self, timeout: Duration) -> Result<(), WaitError> {
        match self.wait(timeout, |state| state.closed.then_some(())) {
            Err(WaitError::Off) => Ok(()),
            // A panicking kernel that reboots goes off within moments.
            Err(WaitError::Panic) => {
                let until = Instant::now() + Duration::from_secs(5).min(timeout);
                while Instant::now() < until {
                    if self.lock().closed {
                        return Ok(());
                    }
                    thread::sleep(Duration::from_millis(20));
                }
                Err(WaitError::Panic)
            }
            other => other,
        }
    }

    fn wait<T>(
        &self,
        timeout: Duration,
        mut look: impl FnMut(&mut State) -> Option<T>,
    ) -> Result<T, WaitError> {
        let mut until = Instant::now() + timeout;
        let mut panicked = false;
        let mut state = self.lock();
        loop {
            if let Some(found) = look(&mut state) {
                return Ok(found);
            }
            if !panicked && PANICS.iter().any(|p| state.text.contains(p)) {
                panicked = true;
                until = until.min(Instant::now() + LAST_WORDS);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || state.closed {
                return Err(match panicked {
                    true => WaitError::Panic,
                    false if state.closed => WaitError::Off,
                    false => WaitError::Timeout(timeout),
                });
            }
            state = self.0.news.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn feed(&self, bytes: &[u8]) {
        let mut state = self.lock();
        let State { text, cleaner, .. } = &mut *state;
        cleaner.clean(bytes, text);
        self.0.news.notify_all();
    }

    fn close(&self) {
        self.lock().closed = true;
        self.0.news.notify_all();
    }

    fn echo(&self, name: &str, from: usize) -> usize {
        let state = self.lock();
        let Some(rest) = state.text.get(from..) else { return from };
        let Some(end) = rest.rfind('\n') else { return from };
        for line in rest.get(..end).unwrap_or_default().lines() {
            eprintln!("{name} | {line}");
        }
        from + end + 1
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Drops carriage returns and terminal control sequences from a stream cut anywhere.
#[derive(Debug, Default)]
struct Cleaner {
    mode: Mode,
    held: Vec<u8>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq)]
enum Mode {
    #[default]
    Text,
    Escape,
    Sequence,
}

impl Cleaner {
    fn clean(&mut self, bytes: &[u8], text: &mut String) {
        for &byte in bytes {
            self.mode = match (self.mode, byte) {
                (_, 0x1b) => Mode::Escape,
                (Mode::Escape, b'[') => Mode::Sequence,
                (Mode::Sequence, 0x40..=0x7e) | (Mode::Escape, _) => Mode::Text,
                (Mode::Sequence, _) => Mode::Sequence,
                (Mode::Text, b'\r' | 0) => Mode::Text,
                (Mode::Text, _) => {
                    self.held.push(byte);
                    Mode::Text
                }
            };
        }
        self.flush(text);
    }

    /// Appends what is held, keeping back a UTF-8 character that is not complete yet.
    fn flush(&mut self, text: &mut String) {
        let held = std::mem::take(&mut self.held);
        let mut chunks = held.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            text.push_str(chunk.valid());
            let last = chunks.peek().is_none();
            match chunk.invalid() {
                [] => {}
                cut if last && std::str::from_utf8(cut).is_err_and(|e| e.error_len().is_none()) => {
                    self.held = cut.to_vec();
                }
                _ => text.push(char::REPLACEMENT_CHARACTER),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    const SOON: Duration = Duration::from_millis(30);
    const LATE: Duration = Duration::from_secs(10);

    fn console() -> (UnixStream, Console) {
        let (near, far) = UnixStream::pair().unwrap();
        (near, Console::follow(far, None))
    }

    #[test]
    fn finds_text_cut_by_sequences_and_chunks() {
        let (mut guest, console) = console();
        guest.write_all(b"\x1b[2J\x1b[01;01Hun\x1b[0").unwrap();
        guest.write_all(b"mlock\r\ned \xe2\x80").unwrap();
        guest.write_all(b"\xa6 \xff!").unwrap();
        console.wait_any(&["unlock\ned … \u{fffd}!"], LATE).unwrap();
    }

    #[test]
    fn tells_which_of_several_came() {
        let (mut guest, console) = console();
        guest.write_all(b"refused: pcr 9\n").unwrap();
        assert_eq!(console.wait_any(&["joined", "refused"], LATE), Ok(1));
    }

    #[test]
    fn next_looks_behind_the_last_find() {
        let (mut guest, console) = console();
        guest.write_all(b"login: ").unwrap();
        console.wait_next("login:", LATE).unwrap();
        assert_eq!(console.wait_next("login:", SOON), Err(WaitError::Timeout(SOON)));
        guest.write_all(b"login: ").unwrap();
        console.wait_next("login:", LATE).unwrap();
    }

    #[test]
    fn a_panic_ends_the_wait() {
        let (mut guest, console) = console();
        guest.write_all(b"[ 1.0] Kernel panic - not syncing: Attempted to kill init!\n").unwrap();
        assert_eq!(console.wait_any(&["joined"], LATE), Err(WaitError::Panic));
        assert_eq!(console.wait_any(&["Attempted to kill init"], LATE), Ok(0));
    }

    #[test]
    fn going_off_ends_the_wait() {
        let (mut guest, console) = console();
        guest.write_all(b"bye\n").unwrap();
        drop(guest);
        assert_eq!(console.wait_any(&["joined"], LATE), Err(WaitError::Off));
        assert_eq!(console.wait_any(&["bye"], LATE), Ok(0));
        console.wait_closed(LATE).unwrap();
    }

    #[test]
    fn staying_on_is_a_timeout() {
        let (_guest, console) = console();
        assert_eq!(console.wait_closed(SOON), Err(WaitError::Timeout(SOON)));
    }

    #[test]
    fn tail_has_the_last_lines() {
        let (mut guest, console) = console();
        guest.write_all(b"1\n2\n3\n").unwrap();
        console.wait_any(&["3"], LATE).unwrap();
        assert_eq!(console.tail(2), "2\n3");
    }
}
