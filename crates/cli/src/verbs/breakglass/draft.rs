//! A procedure drafted from what somebody typed. A person looks it over before it is used.

use std::fmt::Write as _;
use std::path::Path;

use evenkeel_api::act::{Act, Sort};

use crate::failure::{Failure, Kind};
use crate::find::Context;
use crate::print;

/// Prints or writes the draft.
pub fn make(
    context: &Context,
    act: &Act,
    name: Option<&str>,
    to: Option<&Path>,
) -> Result<(), Failure> {
    let typed = act.recording.as_ref().map_or("", |recording| recording.typed.as_str());
    if act.sort != Sort::Shell || typed.trim().is_empty() {
        let text = format!("nothing was typed in {}: there is nothing to draft from", act.called());
        return Err(Failure::new(Kind::Refused, text));
    }
    let own = format!("by-hand-{}", act.id);
    let name = name.unwrap_or(&own);
    let (manifest, script) = (manifest(act, name), script(&act.procedure, typed));
    if let Some(dir) = to {
        for (end, text) in [("toml", &manifest), ("sh", &script)] {
            let path = dir.join(format!("{name}.{end}"));
            if path.exists() {
                let text = format!("{} is there already; use another --name", path.display());
                return Err(Failure::new(Kind::Refused, text));
            }
            std::fs::write(&path, text)?;
            print::note(&format!("written: {}", path.display()));
        }
        return Ok(());
    }
    if context.json {
        return print::json(&serde_json::json!({ "manifest": manifest, "script": script }));
    }
    print::line(&format!("# {name}.toml\n{manifest}\n# {name}.sh\n{script}"));
    Ok(())
}

fn manifest(act: &Act, name: &str) -> String {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let doc = format!("Drafted from {} on {}: {}.", act.called(), act.service, act.reason);
    format!(
        "name = {}\ndoc = {}\nkind = \"postgres\"\ninterpreter = [\"/bin/sh\"]\n\
         time_limit_seconds = 300\nrole = \"maintenance\"\ndisruptive = true\nsecond_person = true\n\
         manual_minutes = 15\n",
        quoted(name),
        quoted(&doc)
    )
}

fn script(shell: &str, typed: &str) -> String {
    let mut text = "#!/bin/sh\nset -eu\ninput=$(cat)\n".to_owned();
    let leaves = |line: &&str| {
        let line = line.trim();
        !(line.is_empty() || line == "\\q" || line == "exit" || line == "quit")
    };
    let lines: Vec<&str> = typed.lines().filter(leaves).collect();
    let lines = lines.join("\n");
    let _ = if shell == "psql" {
        writeln!(
            text,
            "psql -X -v ON_ERROR_STOP=1 -v input=\"$input\" >&2 <<'DRAFTED'\n{lines}\nDRAFTED"
        )
    } else {
        writeln!(text, "{{\n{lines}\n}} >&2")
    };
    text.push_str("echo '{\"ok\": true, \"text\": \"done\", \"changed\": []}'\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_typed_becomes_a_script_of_the_contract() {
        let text = script("psql", "SELECT 1;\n\n\\q\n");
        assert!(text.contains("<<'DRAFTED'\nSELECT 1;\nDRAFTED\n"), "{text}");
        let text = script("sh", "ls\nexit\n");
        assert!(text.contains("{\nls\n} >&2\n") && text.trim_end().ends_with("}'"), "{text}");
    }
}
