//! What a pool demands of the emulated guests, as an administrator writes it into a file for `ccnode pool hardware`.

use anyhow::{Result, ensure};
use ccnode_testkit::snp::TestChip;
use ccnode_vm_harness::Story;
use data_encoding::{BASE64, HEXLOWER};
use std::fmt::Write as _;
use std::fs;

use crate::trust::Trust;

/// A launch measurement.
pub type Measurement = [u8; 48];

/// The demands of one pool on guests of the test chip.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// The weakest level that is taken.
    pub least_level: Option<&'static str>,
    /// Launches that are taken.
    pub measurements: Vec<Measurement>,
    /// Launches that keep a vTPM.
    pub keepers: Vec<Measurement>,
    /// Launches that cover an image whole, with the id of its tuple.
    pub launches: Vec<(String, Measurement)>,
}

/// What the test chip says of a guest's launch where the host says nothing else.
#[must_use]
pub fn launch() -> Measurement {
    TestChip::milan().spec([0; 64], 0).measurement
}

/// As the policy and the refusals write it.
#[must_use]
pub fn hex(measurement: &Measurement) -> String {
    HEXLOWER.encode(measurement)
}

impl Policy {
    /// What a pool of guests under an SVSM wants: a vTPM that the hardware vouches for, of the launch that is known.
    #[must_use]
    pub fn of_an_svsm() -> Self {
        Self {
            least_level: Some("tee-bound-vtpm"),
            measurements: vec![launch()],
            keepers: vec![launch()],
            ..Self::default()
        }
    }

    /// Sets it for the pool `workers` by the administrators' tool, which must show it afterwards.
    ///
    /// # Errors
    /// When the tool fails.
    pub fn set(&self, story: &Story, trust: &Trust) -> Result<()> {
        let file = story.path("hardware.toml");
        fs::write(&file, self.text())?;
        let set = trust.cli(&["pool", "hardware", "workers", "--set", &file.to_string_lossy()])?;
        let shown = trust.cli(&["pool", "hardware", "workers"])?;
        ensure!(set == shown, "set was {set}, and there is {shown}");
        Ok(())
    }

    fn text(&self) -> String {
        let list = |list: &[Measurement]| {
            list.iter().map(|m| format!("\"{}\"", hex(m))).collect::<Vec<_>>().join(", ")
        };
        let mut text = "kinds = [\"snp\"]\n".to_owned();
        if let Some(level) = self.least_level {
            let _ = writeln!(text, "least-level = \"{level}\"");
        }
        let _ = writeln!(text, "[snp]\nmeasurements = [{}]", list(&self.measurements));
        // No chip of AMD's signs here: whoever runs these tests can forge all of it.
        let root = TestChip::milan().ark_der();
        let _ = writeln!(
            text,
            "[[snp.danger-roots]]\nproduct = \"milan\"\ncertificates = \"\"\"\n{}\"\"\"",
            pem(&root)
        );
        let _ = writeln!(text, "[vtpm-keepers]\nsnp-measurements = [{}]", list(&self.keepers));
        for (image, measurement) in &self.launches {
            let measurement = hex(measurement);
            let _ = writeln!(text, "[[snp-launches]]\nimage = \"{image}\"\nmeasurement = \"{measurement}\"");
        }
        text
    }
}

fn pem(der: &[u8]) -> String {
    let text = BASE64.encode(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}
