//! Check: does the server keep its promises to the disk?

use evenkeel_core::check::{Asked, Check, Family, Pace, Reading, Result, Severity, Thresholds};

/// `durability-weakened`
pub struct DurabilityWeakened;

impl Check for DurabilityWeakened {
    fn name(&self) -> &'static str {
        "durability-weakened"
    }
    fn family(&self) -> Family {
        Family::Security
    }
    fn doc(&self) -> &'static str {
        "Looks at fsync and full_page_writes. Without them a crash of the machine can damage \
         what was committed long ago, and no log can mend it. Evenkeel pins both on; finding \
         one off means that somebody started the server otherwise. Restart the service."
    }
    fn question(&self) -> &'static str {
        "SELECT current_setting('fsync') AS fsync, current_setting('full_page_writes') AS full_page_writes"
    }
    fn pace(&self) -> Pace {
        Pace::Rarely
    }
    fn asked(&self) -> Asked {
        Asked::Everyone
    }
    fn judge(&self, reading: &Reading, _limits: &Thresholds) -> Option<Result> {
        let off = |name: &&str| reading.text(name) == "off";
        let off: Vec<&str> = ["fsync", "full_page_writes"].into_iter().filter(off).collect();
        let weak = !off.is_empty();
        weak.then(|| self.found(Severity::Critical, format!("off: {}", off.join(", "))))
    }
    fn firing(&self) -> Reading {
        Reading::of(&[("fsync", "off"), ("full_page_writes", "on")])
    }
    fn quiet(&self) -> Reading {
        Reading::of(&[("fsync", "on"), ("full_page_writes", "on")])
    }
}
