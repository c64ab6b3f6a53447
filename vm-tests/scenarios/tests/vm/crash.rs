//! A power cut anywhere in a first boot, and whatever blocks of the unflushed writes it takes, ends with a root that is whole.

use anyhow::{Context as _, Result, bail, ensure};
use ccnode_vm_harness::Story;
use ccnode_vm_scenarios::Stage;
use ccnode_vm_scenarios::crash::{Aftermath, Cut, Phase, Recorded};
use ccnode_vm_scenarios::node::Outcome;
use ccnode_vm_scenarios::small::Small;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Sets what is otherwise random.
const SEED: &str = "CCNODE_CRASH_SEED";
/// Machines at once.
const AT_ONCE: usize = 2;
/// These of the cuts are followed by a boot by firmware: one amid the copy, one after the service was told `ready`.
const BY_FIRMWARE: [(Phase, usize); 2] = [(Phase::Fill, 0), (Phase::Ready, 0)];

pub(crate) fn power_cut_anywhere_in_a_first_boot(story: &Story) -> Result<()> {
    let stage = Stage::get()?;
    let small = Small::make(stage)?;
    let (trust, cluster) = stage.trust(story)?;
    small.make_known(stage, story, &trust, &cluster)?;
    let probe = small.by_firmware(
        stage,
        small.disk().copy_to(story.path("probe.img"))?,
        stage.tpms.template("a")?,
    )?;
    stage.know_platform(story, &trust, &probe)?;
    let dir = trust.dir().clone();
    drop(trust);
    let api = cluster.api.port();
    let recorded = Recorded::make(stage, &small, story, &dir, api)?;
    story.step(&format!("{:?}", recorded.steps));
    match recorded.boot_damaged(&small, story, api)? {
        Outcome::Refused { code, .. } if code == "file-system-damaged" => {}
        other => bail!("a damaged superblock ended with {other:?}"),
    }

    let seed = match std::env::var(SEED) {
        Ok(seed) => seed.parse().with_context(|| format!("{SEED} is a number"))?,
        Err(_) => u64::from(SystemTime::now().duration_since(UNIX_EPOCH)?.subsec_nanos()),
    };
    story.step(&format!("{SEED}={seed}"));
    let cuts = recorded.steps.cuts(&recorded.log, &mut fastrand::Rng::with_seed(seed));
    let boots = boots(&cuts, |cut, name, by_firmware| {
        recorded.boot_after(cut, stage, &small, story, name, (by_firmware, api))
    });
    table(story, &cuts, &boots);
    let failed: Vec<String> = cuts
        .iter()
        .zip(&boots)
        .filter_map(|(cut, boot)| {
            let error = boot.as_ref().err()?;
            Some(format!("{} at {} of {}: {error:#}", cut.phase.as_str(), cut.at, recorded.steps.end))
        })
        .collect();
    let order = recorded.steps.flushed_in_order(&recorded.log);
    let order = order.err().map(|error| format!("{error:#}"));
    let wrong: Vec<String> = order.into_iter().chain(failed).collect();
    ensure!(wrong.is_empty(), "{SEED}={seed}; {} wrong:\n{}", wrong.len(), wrong.join("\n"));
    Ok(())
}

/// The boots after all cuts, in their order, some at once.
fn boots(
    cuts: &[Cut],
    boot: impl Fn(&Cut, &str, bool) -> Result<Aftermath> + Sync,
) -> Vec<Result<Aftermath>> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some((n, cut)) =
                    Some(next.fetch_add(1, Ordering::SeqCst)).and_then(|n| Some((n, cuts.get(n)?)))
                {
                    let nth = cuts.iter().take(n).filter(|other| other.phase == cut.phase).count();
                    let result = boot(cut, &format!("cut-{n}"), BY_FIRMWARE.contains(&(cut.phase, nth)));
                    if let Ok(mut done) = done.lock() {
                        done.push((n, result));
                    }
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_default();
    done.sort_by_key(|(n, _)| *n);
    done.into_iter().map(|(_, result)| result).collect()
}

/// A row for each phase: its cuts, and what became of them.
fn table(story: &Story, cuts: &[Cut], boots: &[Result<Aftermath>]) {
    story.step("phase            cuts  with unflushed writes  made anew  opened  failed");
    for (phase, _) in Phase::all() {
        let of: Vec<_> = cuts.iter().zip(boots).filter(|(cut, _)| cut.phase == phase).collect();
        let open = of.iter().filter(|(cut, _)| cut.open > 0).count();
        let anew = of.iter().filter(|(_, boot)| boot.as_ref().is_ok_and(|b| b.anew)).count();
        let failed = of.iter().filter(|(_, boot)| boot.is_err()).count();
        let opened = of.len() - anew - failed;
        let row =
            format!("{:<15} {:>5} {open:>22} {anew:>10} {opened:>7} {failed:>7}", phase.as_str(), of.len());
        story.step(&row);
    }
    let good: Vec<f32> = boots.iter().flatten().map(|boot| boot.took.as_secs_f32()).collect();
    let longest = good.iter().copied().fold(0.0, f32::max);
    let mean = good.iter().sum::<f32>() / good.len().max(1) as f32;
    story.step(&format!("{} boots, {mean:.1} s in the mean, {longest:.1} s at most", boots.len()));
}
