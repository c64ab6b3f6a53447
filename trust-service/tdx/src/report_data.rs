//! The binding of a TD quote to a transcript.

use crate::{Rejection, TdxProven};
use ccnode_evidence::ReportData;

/// Proof that a quote carries a transcript's report data; [`TdxProven::is_bound_to`] alone makes it.
#[derive(Clone, Debug)]
pub struct ReportDataBound(());

impl TdxProven {
    /// Whether REPORT_DATA is the transcript's 48 bytes, then 16 zero bytes.
    pub fn is_bound_to(&self, transcript: &ReportData) -> Result<ReportDataBound, Rejection> {
        let mut wanted = [0; 64];
        for (to, from) in wanted.iter_mut().zip(transcript.0) {
            *to = from;
        }
        self.carries(&wanted)
    }

    /// Whether REPORT_DATA is exactly these 64 bytes.
    pub fn carries(&self, wanted: &[u8; 64]) -> Result<ReportDataBound, Rejection> {
        let seen = self.body().report_data;
        if seen != *wanted {
            return Err(Rejection::ReportData { seen: seen.into(), wanted: (*wanted).into() });
        }
        Ok(ReportDataBound(()))
    }
}
