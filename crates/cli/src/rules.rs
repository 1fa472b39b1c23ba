//! Rules that a fleet runs by, from files: policy and remedies, read once at the start.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use evenkeel_controller::AlertFile;
use evenkeel_core::policy::Policy;
use evenkeel_core::procedure::Procedure;
use evenkeel_core::remedy::{Course, Remedies, Remedy, file};

use crate::failure::{Failure, Kind, chain};

/// Which rules, by flags.
#[derive(Clone, Debug, Default, Args)]
pub struct Rules {
    /// A policy to decide by, as TOML (`*.toml`, see docs/policy.toml) or JSON; what is left out is as by
    /// default.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Ports of endpoints and members, from the first to the last, over the policy's (21000-31999 by
    /// default): two fleets on one machine need different ones.
    #[arg(long, value_name = "FIRST-LAST", value_parser = ports)]
    ports: Option<(u16, u16)>,
    /// A directory of remedies (`*.toml`): over the bundled ones of the same name, beside the others.
    #[arg(long, value_name = "DIR")]
    remedies: Option<PathBuf>,
    /// Whom to tell of incidents, and in which order (see docs/alerts.toml).
    #[arg(long, value_name = "FILE")]
    alerts: Option<PathBuf>,
    /// A directory of your own procedures: NAME.toml and its script NAME.sh each.
    #[arg(long, value_name = "DIR")]
    procedures: Option<PathBuf>,
}

impl Rules {
    /// The policy.
    pub fn policy(&self) -> Result<Policy, Failure> {
        let read = self.policy.as_deref().map_or_else(|| Ok(Policy::default()), read_policy);
        let mut policy = read?;
        if let Some(ports) = self.ports {
            (policy.port_first, policy.port_last) = ports;
        }
        Ok(policy)
    }

    /// The file of alert channels.
    pub fn alerts(&self) -> Option<AlertFile> {
        let path = self.alerts.clone()?;
        Some(AlertFile { path, variable: |name| std::env::var(name).ok() })
    }

    /// The procedures.
    pub fn procedures(&self) -> Result<Vec<Procedure>, Failure> {
        let loaded = evenkeel_controller::load_procedures(self.procedures.as_deref());
        loaded.map_err(|error| Failure::new(Kind::Usage, chain(&error)))
    }

    /// The remedies; what they run is among the procedures.
    pub fn remedies(&self) -> Result<Arc<Remedies>, Failure> {
        let (all, procedures) = (self.read()?, self.procedures()?);
        for remedy in all.iter() {
            let Course::Procedure { name, parameters } = &remedy.course else { continue };
            let known = procedures.iter().find(|procedure| procedure.manifest.name == **name);
            let why = match known.map(|procedure| procedure.values(parameters)) {
                None => format!("no procedure is named {name:?}; `evenkeel procedure list`"),
                Some(Err(error)) => error.to_string(),
                Some(Ok(_)) => continue,
            };
            let text = format!("remedy {}: {why}", remedy.name);
            return Err(Failure::new(Kind::Usage, text));
        }
        Ok(all)
    }

    fn read(&self) -> Result<Arc<Remedies>, Failure> {
        let bundled = evenkeel_kinds::remedies::bundled();
        let Some(dir) = &self.remedies else { return Ok(Arc::new(bundled)) };
        let bad = |error: std::io::Error| about(dir, &error.to_string());
        let mut files = Vec::new();
        for entry in fs::read_dir(dir).map_err(bad)? {
            let path = entry.map_err(bad)?.path();
            if path.extension().is_some_and(|end| end == "toml") {
                files.push(path);
            }
        }
        files.sort();
        let own = files.iter().map(|path| read_remedy(path)).collect::<Result<Vec<_>, _>>()?;
        let own = Remedies::new(own).map_err(|why| about(dir, &why))?;
        Ok(Arc::new(bundled.overlaid(own.iter().cloned().collect())))
    }
}

fn ports(text: &str) -> Result<(u16, u16), String> {
    let parsed = text.split_once('-').and_then(|(first, last)| {
        Some((first.trim().parse::<u16>().ok()?, last.trim().parse::<u16>().ok()?))
    });
    let ports = parsed.filter(|(first, last)| *first >= 1024 && first < last);
    ports.ok_or_else(|| "two ports from 1024 on are needed, such as 21000-31999".to_owned())
}

/// Reads a policy: TOML by the file's ending, else JSON.
pub fn read_policy(file: &Path) -> Result<Policy, Failure> {
    let bad = |why: String| about(file, &format!("it is no policy: {why}"));
    let unread = |error: std::io::Error| about(file, &format!("it cannot be read: {error}"));
    let text = fs::read_to_string(file).map_err(unread)?;
    let is_toml = file.extension().is_some_and(|end| end.eq_ignore_ascii_case("toml"));
    let read = if is_toml { policy_of_toml(&text) } else { policy_of_json(&text) };
    let policy = read.map_err(bad)?;
    policy.check().map_err(bad)?;
    Ok(policy)
}

fn policy_of_json(text: &str) -> Result<Policy, String> {
    let mut json = serde_json::Deserializer::from_str(text);
    // Its message has the place in the file.
    let read = serde_path_to_error::deserialize(&mut json);
    let policy = read.map_err(|error| at_key(error.path(), &error.inner().to_string()))?;
    json.end().map_err(|error| error.to_string())?;
    Ok(policy)
}

fn policy_of_toml(text: &str) -> Result<Policy, String> {
    let place = |error: &toml::de::Error| {
        let start = error.span().map_or(0, |span| span.start);
        let line = text.get(..start).map_or(0, |before| before.matches('\n').count()) + 1;
        format!("{} at line {line}", error.message())
    };
    let toml = toml::Deserializer::parse(text).map_err(|error| place(&error))?;
    let read = serde_path_to_error::deserialize(toml);
    read.map_err(|error| at_key(error.path(), &place(error.inner())))
}

/// What is wrong, with the key that it is about.
fn at_key(path: &serde_path_to_error::Path, why: &str) -> String {
    match path.to_string().as_str() {
        // The whole file.
        "." | "?" => why.to_owned(),
        key => format!("{key}: {why}"),
    }
}

/// Reads a remedy.
pub fn read_remedy(path: &Path) -> Result<Remedy, Failure> {
    let text = fs::read_to_string(path).map_err(|error| about(path, &error.to_string()))?;
    let remedy = file::parse(&text).map_err(|error| about(path, &error.to_string()))?;
    Ok(remedy)
}

fn about(path: &Path, why: &str) -> Failure {
    Failure::new(Kind::Usage, format!("{}: {why}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str = "
        name = 'hung'
        doc = 'Ours is slower.'
        when = \"condition == 'hung'\"
        operation = 'recover'
        level = 'suggest'
        manual_minutes = 20
        budget = { tries_max = 1, window = '30m' }
    ";

    #[test]
    fn ports_are_two_numbers_in_order() {
        assert_eq!(ports("21000-21099"), Ok((21_000, 21_099)));
        for wrong in ["", "21000", "21000-", "2-3", "22000-21000", "21000-70000"] {
            assert!(ports(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_policy_is_toml_by_its_files_ending_and_json_otherwise() {
        let dir = tempfile::tempdir().unwrap();
        let read = |name: &str, text: &str| {
            let file = dir.path().join(name);
            fs::write(&file, text).unwrap();
            read_policy(&file).map_err(|failure| failure.to_string())
        };
        let toml = "beat = 2000\ndown_after = '5s'\n[incidents]\ngather = '1s'\n";
        let json = r#"{"beat": 2000, "down_after": "5s", "incidents": {"gather": 1000}}"#;
        let policy = read("policy.toml", toml).unwrap();
        assert_eq!(policy, read("policy.json", json).unwrap());
        assert_eq!((policy.beat.0, policy.down_after.0), (2000, 5000));
        assert_eq!(policy.incidents.gather.0, 1000);
        for (name, text, words) in [
            (
                "a.toml",
                "beat = 1\n\n[incidents]\ngather = 'soon'\n",
                "incidents.gather: \"soon\" is",
            ),
            ("a.toml", "beat = 1\n\n[incidents]\ngather = 'soon'\n", "at line 4"),
            ("b.toml", "[checks]\nlag_warn_seconds = true\n", "checks.lag_warn_seconds: invalid"),
            ("c.toml", "baet = 1\n", "unknown field `baet`"),
            ("d.toml", "beat = \n", "at line 1"),
            ("e.json", r#"{"incidents": {"pause": "x"}}"#, "incidents.pause: \"x\" is"),
            ("f.json", r#"{"beat": 1} x"#, "trailing"),
            ("g", toml, "at line 1"),
        ] {
            let error = read(name, text).unwrap_err();
            assert!(error.contains(words) && error.contains(name), "{text}: {error}");
        }
    }

    /// The example has every key there is, with what it is by default.
    #[test]
    fn the_example_of_a_policy_is_the_default_and_complete() {
        let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/policy.toml");
        let policy = read_policy(Path::new(example)).unwrap();
        assert_eq!(policy, Policy::default());
        let text = fs::read_to_string(example).unwrap();
        let mut missing = Vec::new();
        let mut tables = vec![serde_json::to_value(&policy).unwrap()];
        while let Some(table) = tables.pop() {
            for (key, value) in table.as_object().unwrap() {
                let has = |form: String| text.contains(&form);
                if !has(format!("{key} = ")) && !has(format!("[{key}]")) {
                    missing.push(key.clone());
                }
                tables.extend(value.is_object().then(|| value.clone()));
            }
        }
        assert!(missing.is_empty(), "docs/policy.toml lacks {missing:?}");
    }

    #[test]
    fn a_directory_of_remedies_goes_over_the_bundled_ones() {
        let dir = tempfile::tempdir().unwrap();
        let rules = Rules { remedies: Some(dir.path().to_owned()), ..Rules::default() };
        let bundled = rules.remedies().unwrap().iter().count();
        fs::write(dir.path().join("hung.toml"), OWN).unwrap();
        fs::write(dir.path().join("more.toml"), OWN.replace("'hung'\n", "'more'\n")).unwrap();
        fs::write(dir.path().join("notes.txt"), "no remedy").unwrap();
        let all = rules.remedies().unwrap();
        assert_eq!(all.iter().count(), bundled + 1);
        assert_eq!(all.named("hung").unwrap().budget.tries_max, 1);
        assert_eq!(all.iter().next().map(|r| &*r.name), Some("more"), "new ones are asked first");
        fs::write(dir.path().join("bad.toml"), "name = 'bad'").unwrap();
        let error = rules.remedies().unwrap_err().to_string();
        assert!(error.contains("bad.toml") && error.contains("doc"), "{error}");
    }
}
