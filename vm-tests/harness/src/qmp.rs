//! Talks to QEMU's machine protocol: one command at a time, and the reason why the machine went off.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// A monitor connection.
#[derive(Debug)]
pub struct Qmp {
    writer: UnixStream,
    replies: Receiver<Value>,
    shutdown: Arc<Mutex<Option<String>>>,
}

impl Qmp {
    /// Takes the connection into command mode.
    ///
    /// # Errors
    /// When QEMU does not answer.
    pub fn new(stream: UnixStream) -> Result<Self> {
        let writer = stream.try_clone()?;
        let shutdown = Arc::new(Mutex::new(None));
        let (sender, replies) = channel();
        let reason = Arc::clone(&shutdown);
        thread::spawn(move || {
            for line in BufReader::new(stream).lines() {
                let Ok(message) = line.map_err(drop).and_then(|l| serde_json::from_str(&l).map_err(drop))
                else {
                    return;
                };
                let message: Value = message;
                if let Some(why) = shutdown_reason(&message) {
                    *reason.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
                } else if message.get("return").or_else(|| message.get("error")).is_some() {
                    let _nobody_waits = sender.send(message);
                }
            }
        });
        let mut qmp = Self { writer, replies, shutdown };
        qmp.command("qmp_capabilities", json!({}))?;
        Ok(qmp)
    }

    /// Runs a command and returns its `return` member.
    ///
    /// # Errors
    /// When QEMU refuses it, is gone or takes over ten seconds.
    pub fn command(&mut self, name: &str, arguments: Value) -> Result<Value> {
        let mut line = json!({ "execute": name, "arguments": arguments }).to_string();
        line.push('\n');
        self.writer.write_all(line.as_bytes()).with_context(|| format!("sending {name} to QEMU"))?;
        let reply = match self.replies.recv_timeout(Duration::from_secs(10)) {
            Ok(reply) => reply,
            Err(RecvTimeoutError::Timeout) => bail!("QEMU does not answer {name}"),
            Err(RecvTimeoutError::Disconnected) => bail!("QEMU is gone, {name} stays unanswered"),
        };
        match reply.get("return") {
            Some(value) => Ok(value.clone()),
            None => bail!("QEMU refuses {name}: {reply}"),
        }
    }

    /// QEMU's word for why the machine went off (`guest-shutdown`, `guest-reset`, …), once it has.
    #[must_use]
    pub fn shutdown(&self) -> Option<String> {
        self.shutdown.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn shutdown_reason(message: &Value) -> Option<String> {
    (message.get("event")? == "SHUTDOWN").then_some(())?;
    message.pointer("/data/reason")?.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays QEMU: answers each line with the next of `answers`.
    fn fake(answers: &'static [&'static str]) -> UnixStream {
        let (near, far) = UnixStream::pair().unwrap();
        thread::spawn(move || {
            let mut writer = far.try_clone().unwrap();
            let mut lines = BufReader::new(far).lines();
            for answer in answers {
                lines.next();
                writeln!(writer, "{answer}").unwrap();
            }
        });
        near
    }

    #[test]
    fn commands_and_refusals() {
        const REFUSAL: &str = r#"{"error":{"class":"GenericError","desc":"no"}}"#;
        let mut qmp =
            Qmp::new(fake(&[r#"{"return":{}}"#, r#"{"return":{"status":"running"}}"#, REFUSAL])).unwrap();
        assert_eq!(qmp.command("query-status", json!({})).unwrap()["status"], "running");
        assert!(qmp.command("stop", json!({})).unwrap_err().to_string().contains("refuses stop"));
        assert!(qmp.command("cont", json!({})).is_err());
    }

    #[test]
    fn the_reason_of_a_shutdown() {
        let event = r#"{"event":"SHUTDOWN","data":{"guest":true,"reason":"guest-reset"}}"#;
        assert_eq!(shutdown_reason(&serde_json::from_str(event).unwrap()).as_deref(), Some("guest-reset"));
        assert_eq!(shutdown_reason(&json!({"event":"STOP"})), None);
    }
}
