//! `pernet doctor`: each kernel feature that we use: present, or missing, and what then.

use std::process::{Command, ExitCode};

use pernet_run::{Finding, probe};

pub(crate) fn report() -> ExitCode {
    let findings = probe();
    let mut works = true;
    for f in &findings {
        println!("{}", line(f));
        works &= f.result.is_ok() || !f.essential;
    }
    println!("{}", iproute2());
    if works {
        println!("`pernet run` works here.");
        ExitCode::SUCCESS
    } else {
        println!("`pernet run` cannot work here: see the lines marked MISSING.");
        ExitCode::FAILURE
    }
}

fn line(f: &Finding) -> String {
    match &f.result {
        Ok(detail) if detail.is_empty() => format!("ok       {} ({})", f.feature, f.purpose),
        Ok(detail) => format!("ok       {}: {detail} ({})", f.feature, f.purpose),
        Err(why) if f.essential => format!("MISSING  {} ({}): {why}", f.feature, f.purpose),
        Err(why) => format!("without  {} ({}): {why}", f.feature, f.purpose),
    }
}

fn iproute2() -> String {
    match Command::new("ip").arg("-V").output() {
        Ok(out) => format!(
            "ok       {} (the usual way to manage namespaces inside)",
            String::from_utf8_lossy(&out.stdout).trim()
        ),
        Err(_) => {
            "without  ip (the usual way to manage namespaces inside): install iproute2, or use `pernet ns`".to_owned()
        }
    }
}
