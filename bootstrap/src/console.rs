//! The console: one line a step for people, JSON lines for machines where the command line asks.

use crate::refusal::{Refusal, safe};
use ccnode_attest_client::Retry;
use nix::time::{ClockId, clock_gettime};
use serde::Serialize;
use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Milliseconds of CLOCK_MONOTONIC: since the kernel started.
pub fn now_ms() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

/// The steps, as they are printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// Configuration, early modules, TPM.
    Discover,
    /// What is measured before it is used, and the logs.
    Measure,
    /// Link, address, routes.
    Network,
    /// Evidence against grants.
    Attest,
    /// PCR 15 is closed.
    Cap,
    /// The volume is open.
    Unlock,
    /// A new header.
    Format,
    /// Every sector of a volume with tags is written once.
    Wipe,
    /// The root is copied.
    Fill,
    /// The kubelet's credentials.
    Provision,
    /// The root's init is started.
    Handover,
}

impl Step {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Discover => "discover",
            Self::Measure => "measure",
            Self::Network => "network",
            Self::Attest => "attest",
            Self::Cap => "cap",
            Self::Unlock => "unlock",
            Self::Format => "format",
            Self::Wipe => "wipe",
            Self::Fill => "fill",
            Self::Provision => "provision",
            Self::Handover => "handover",
        }
    }
}

/// A line, in the JSON form.
#[derive(Serialize)]
struct Line<'a> {
    t_ms: u64,
    event: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<Step>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    text: &'a str,
}

/// Where the lines go. A console that can't be written is no reason to stop.
pub struct Console {
    out: Mutex<Box<dyn Write + Send>>,
    json: bool,
}

impl Console {
    /// A console that writes to `out`.
    pub fn new(out: Box<dyn Write + Send>, json: bool) -> Self {
        Self { out: Mutex::new(out), json }
    }

    /// Turns JSON lines on or off.
    pub fn set_json(&mut self, json: bool) {
        self.json = json;
    }

    /// A step that ended well.
    pub fn ok(&self, step: Step, words: &str, ms: u64) {
        let (now, words) = (now_ms(), &safe(words));
        self.write(&format!("{} {}  ok  {words} ({ms} ms)\n", prefix(now), step.as_str()));
        self.json(now, "ok", Some(step), Some(ms), None, words);
    }

    /// What a step is doing.
    pub fn note(&self, step: Step, words: &str) {
        let (now, words) = (now_ms(), &safe(words));
        self.write(&format!("{} {}  ..  {words}\n", prefix(now), step.as_str()));
        self.json(now, "note", Some(step), None, None, words);
    }

    /// What went wrong in a step and is no reason to stop.
    pub fn warn(&self, step: Step, words: &str) {
        let (now, words) = (now_ms(), &safe(words));
        self.write(&format!("{} {}  warning  {words}\n", prefix(now), step.as_str()));
        self.json(now, "warning", Some(step), None, None, words);
    }

    /// An attempt that will be made again.
    pub fn retry(&self, step: Step, retry: &Retry) {
        let (now, reason) = (now_ms(), safe(&retry.reason));
        let words =
            format!("{reason}, next in {:.1} s, {} s left", retry.next.as_secs_f64(), retry.left.as_secs());
        self.write(&format!("{} {}  retry  {words}\n", prefix(now), step.as_str()));
        self.json(now, "retry", Some(step), None, None, &words);
    }

    /// The end of a boot that may not go on.
    pub fn refused(&self, refusal: &Refusal) {
        let now = now_ms();
        self.write(&format!("{} {}\n", prefix(now), refusal.text()));
        self.json(now, "refused", None, None, Some(refusal), &refusal.detail);
    }

    fn json(
        &self,
        t_ms: u64,
        event: &str,
        step: Option<Step>,
        ms: Option<u64>,
        refusal: Option<&Refusal>,
        text: &str,
    ) {
        if self.json {
            let code = refusal.map(|r| r.code.as_str());
            let id = refusal.map(|r| r.id.as_str());
            let line = serde_json::to_string(&Line { t_ms, event, step, ms, code, id, text });
            self.write(&format!("{}\n", line.unwrap_or_default()));
        }
    }

    fn write(&self, text: &str) {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        // One write a line: the kernel's own messages then fall between lines.
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }
}

fn prefix(now: u64) -> String {
    format!("ccnode [{:>4}.{:03}]", now / 1000, now % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ccnode_evidence::Code;
    use std::sync::Arc;

    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn lines(json: bool, act: impl Fn(&Console)) -> Vec<String> {
        let paper = Paper::default();
        act(&Console::new(Box::new(paper.clone()), json));
        let text = String::from_utf8(paper.0.lock().unwrap().clone()).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_step_is_a_line() {
        let got = lines(true, |c| c.ok(Step::Cap, "PCR 15 closed", 7));
        assert!(
            got[0].starts_with("ccnode [") && got[0].ends_with("] cap  ok  PCR 15 closed (7 ms)"),
            "{got:?}"
        );
        let json: serde_json::Value = serde_json::from_str(&got[1]).unwrap();
        assert_eq!(
            (json["step"].as_str(), json["event"].as_str(), json["ms"].as_u64()),
            (Some("cap"), Some("ok"), Some(7))
        );
        assert_eq!(lines(false, |c| c.ok(Step::Cap, "x", 7)).len(), 1);
    }

    #[test]
    fn a_refusal_says_what_to_do() {
        let refusal = Refusal { pcr: Some(9), ..Refusal::new(Code::ImageUnknown, "PCR 9 differs") };
        let got = lines(false, |c| c.refused(&refusal));
        assert!(got[0].ends_with("] refused image-unknown: PCR 9 differs"), "{got:?}");
        assert_eq!(got[1], "  pcr: 9");
        assert!(got[2].starts_with("  next: ") && got[3] == format!("  id: {}", refusal.id));
    }

    #[test]
    fn a_retry_names_wait_and_rest() {
        let retry = Retry {
            reason: "https://a: no answer".into(),
            next: Duration::from_millis(1234),
            left: Duration::from_secs(28),
        };
        let got = lines(false, |c| c.retry(Step::Attest, &retry));
        assert!(got[0].ends_with("attest  retry  https://a: no answer, next in 1.2 s, 28 s left"), "{got:?}");
    }

    #[test]
    fn foreign_text_can_not_steer_the_terminal() {
        let foreign = "a\x1b[2J\nccnode [   1.000] cap  ok";
        let retry = Retry { reason: foreign.into(), next: Duration::ZERO, left: Duration::ZERO };
        let got = lines(true, |c| {
            c.retry(Step::Attest, &retry);
            c.note(Step::Fill, foreign);
            c.warn(Step::Attest, foreign);
            c.ok(Step::Provision, foreign, 1);
        });
        assert_eq!(got.len(), 8, "two lines for each: {got:?}");
        assert!(got.iter().all(|line| !line.contains('\x1b') && !line.contains("\\u001b")), "{got:?}");
    }
}
