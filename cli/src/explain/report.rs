//! What there is to say: one log alone, or the differences of two things, each of them on its side.

use super::subject::{Subject, What};
use crate::error::{Unreadable, Usage};
use anyhow::{Result, bail};
use ccnode_evidence::{HashAlg, PcrSet, PcrValues};
use ccnode_tpm_eventlog::{Cmdlines, Difference, EventLog, Side, compare_logs, explain, explain_unproven};

/// All that the output says, in whatever form.
pub(crate) struct Report<'a> {
    pub(crate) a: Subject<'a>,
    pub(crate) b: Option<Subject<'a>>,
    /// Whether A is what was expected, and B what was found.
    pub(crate) a_is_expected: bool,
    /// The bank of the comparison; of a log alone its strongest.
    pub(crate) alg: Option<HashAlg>,
    /// The one to name first.
    pub(crate) differences: Vec<Difference>,
    /// Whether quoted PCRs prove the log.
    pub(crate) proven: bool,
}

impl<'a> Report<'a> {
    /// One log alone.
    pub(crate) fn alone(a: Subject<'a>) -> Result<Self> {
        let Some(log) = a.log() else {
            bail!(Usage::new(format!("{} is a tuple", a.name), "give an event log too"));
        };
        let alg = log.best_alg();
        Ok(Self { a, b: None, a_is_expected: false, alg, differences: Vec::new(), proven: false })
    }

    /// Two logs, the first of them expected, or a log and a tuple, which is what is expected.
    pub(crate) fn compare(a: Subject<'a>, b: Subject<'a>, cmdline: Option<&str>) -> Result<Self> {
        let unreadable = |error: &dyn std::fmt::Display| Unreadable(error.to_string());
        let (alg, differences, a_is_expected) = match (&a.what, &b.what) {
            (What::Log(old), What::Log(new)) => {
                let cmdlines = Cmdlines { expected: None, found: cmdline };
                let compared = compare_logs(old, new, cmdlines).map_err(|e| unreadable(&e))?;
                (compared.alg, compared.differences, true)
            }
            (What::Log(log), _) => (HashAlg::Sha256, against(log, &b, cmdline)?, false),
            (_, What::Log(log)) => (HashAlg::Sha256, against(log, &a, cmdline)?, true),
            _ => bail!(Usage::new("two tuples", "give at least one event log")),
        };
        Ok(Self { a, b: Some(b), a_is_expected, alg: Some(alg), differences, proven: false })
    }

    /// A log that quoted values prove, beside a tuple or another log.
    pub(crate) fn proven(
        log: Subject<'a>,
        other: Subject<'a>,
        quoted: &PcrValues,
        cmdline: &str,
    ) -> Result<Self> {
        let (Some(found), Some((references, expected))) = (log.log(), other.references()) else {
            return Self::compare(other, log, Some(cmdline));
        };
        // The log of PCR 10 is the kernel's own, and nodes don't send it: the service judges its value.
        let logged: PcrSet = PcrSet::CCNODE.iter().filter(|pcr| pcr.get() != 10).collect();
        let proof = found.matches(quoted, logged).map_err(|error| {
            Unreadable(format!("{}: the kept log is not the one of the quote: {error}", log.name))
        })?;
        let differences = explain(&proof, &references, Cmdlines { found: Some(cmdline), expected });
        let (b, alg) = (Some(other), Some(HashAlg::Sha256));
        Ok(Self { a: log, b, a_is_expected: false, alg, differences, proven: true })
    }

    /// Which side of a difference is A's, and which B's.
    pub(crate) fn sides<'d>(&self, difference: &'d Difference) -> (Option<&'d Side>, Option<&'d Side>) {
        let (expected, found) = (difference.expected.as_ref(), difference.found.as_ref());
        if self.a_is_expected { (expected, found) } else { (found, expected) }
    }

    /// The registers that were compared, each with its value on both sides.
    pub(crate) fn values(&self) -> Vec<Compared> {
        let (Some(alg), Some(b)) = (self.alg, &self.b) else { return Vec::new() };
        let (left, right) = (self.a.values(alg), b.values(alg));
        let only = |subject: &Subject<'_>, values: &[(u32, String)]| -> Option<Vec<u32>> {
            subject.log().is_none().then(|| values.iter().map(|(register, _)| *register).collect())
        };
        // A tuple says which PCRs it is about.
        let about = only(&self.a, &left).or_else(|| only(b, &right));
        let mut registers: Vec<u32> = left.iter().chain(&right).map(|(register, _)| *register).collect();
        registers.sort_unstable();
        registers.dedup();
        let of = |values: &[(u32, String)], register| {
            values.iter().find(|(r, _)| *r == register).map(|(_, value)| value.clone())
        };
        registers
            .into_iter()
            .filter(|register| about.as_ref().is_none_or(|about| about.contains(register)))
            .map(|register| Compared { register, a: of(&left, register), b: of(&right, register) })
            .collect()
    }
}

/// A register's value on both sides; `None` where nothing extends it.
pub(crate) struct Compared {
    pub(crate) register: u32,
    pub(crate) a: Option<String>,
    pub(crate) b: Option<String>,
}

impl Compared {
    pub(crate) fn equal(&self) -> bool {
        let zero = |value: &Option<String>| value.as_ref().is_none_or(|v| v.bytes().all(|b| b == b'0'));
        self.a == self.b || zero(&self.a) && zero(&self.b)
    }
}

fn against(log: &EventLog<'_>, tuple: &Subject<'_>, found: Option<&str>) -> Result<Vec<Difference>> {
    let Some((references, expected)) = tuple.references() else { return Ok(Vec::new()) };
    let differences = explain_unproven(log, &references, Cmdlines { found, expected });
    Ok(differences
        .map_err(|error| Unreadable(format!("the event log can't be compared with a tuple: {error}")))?)
}
