//! Check: are there errors in files of settings or rules?

use evenkeel_core::check::{Asked, Check, Family, Pace, Reading, Result, Severity, Thresholds};

/// `settings-errors`
pub struct SettingsErrors;

impl Check for SettingsErrors {
    fn name(&self) -> &'static str {
        "settings-errors"
    }
    fn family(&self) -> Family {
        Family::Performance
    }
    fn doc(&self) -> &'static str {
        "Looks for lines in the server's files of settings and of rules for clients that it \
         cannot take. They are without effect, and with an error in the rules none of the new \
         ones is taken; a server with such a line may not start again. Mend the file; lines \
         that only wait for a restart are left out."
    }
    fn question(&self) -> &'static str {
        "SELECT coalesce(string_agg(item, E'\\n' ORDER BY item), '') AS items FROM ( \
         SELECT coalesce(sourcefile, '') || ':' || coalesce(sourceline, 0) || ': ' || error AS item FROM pg_file_settings \
         WHERE error IS NOT NULL AND error <> 'setting could not be applied' \
         UNION ALL SELECT 'rules for clients:' || line_number || ': ' || error FROM pg_hba_file_rules WHERE error IS NOT NULL \
         LIMIT 50) AS t"
    }
    fn pace(&self) -> Pace {
        Pace::Rarely
    }
    fn asked(&self) -> Asked {
        Asked::Everyone
    }
    fn judge(&self, reading: &Reading, _limits: &Thresholds) -> Option<Result> {
        let of = |line: Vec<&str>| line.first().map(|item| (*item).to_owned());
        self.found_of(
            Severity::Critical,
            "lines that the server cannot take",
            reading.lines("items").filter_map(of).collect(),
        )
    }
    fn firing(&self) -> Reading {
        Reading::of(&[("items", "/data/postgresql.conf:7: syntax error")])
    }
    fn quiet(&self) -> Reading {
        Reading::of(&[("items", "")])
    }
}
