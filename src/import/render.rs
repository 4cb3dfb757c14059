//! From the plan to the text of a configuration, and the proof that guideway takes it.
//!
//! A `Model` has neither comments nor ranges nor places in other files, so that this writes sections itself. What is
//! wrong with the text is said of the place in Azure's file that the section comes from.

use std::collections::BTreeMap;
use std::fmt::{Display, Write};
use std::net::{IpAddr, SocketAddr};

use super::plan::{
    Acl, Members, NatRule, OutboundRule, Plan, Pool, Probe, Protocol, Rule, Target, Treatment,
};
use super::report::{Findings, Place, one_line};
use crate::config::{self, AdminState, ConfigFlags, Distribution, NoHealthyBackends};

/// The most characters of a comment.
const COMMENT_MAX: usize = 200;

/// The name that findings of the text have where it comes from no place in particular.
const OUTPUT: &str = "the result";

/// The text of a configuration; `None` where guideway would refuse it, with the reasons in `findings`.
pub(super) fn render(plan: &Plan, findings: &mut Findings) -> Option<String> {
    let mut writer = Writer::default();
    writer.write(plan);
    // What follows from other errors is not said as well.
    if findings.reach(super::report::Weight::Error) {
        return None;
    }
    match config::load_text(OUTPUT, &writer.text, &ConfigFlags::default()) {
        Ok(_) => Some(writer.text),
        Err(wrong) => {
            for finding in &wrong.list {
                let line = if let config::Place::Line(line) = finding.place { line } else { 1 };
                findings.error(&writer.place(line), writer.translated(&finding.problem.to_string()));
            }
            findings.omitted += wrong.omitted;
            None
        }
    }
}

#[derive(Default)]
struct Writer {
    text: String,
    line: u32,
    /// The first line of each section, and where it comes from.
    sections: Vec<(u32, Place)>,
    /// By rule.
    acl_of: BTreeMap<String, String>,
}

impl Writer {
    fn write(&mut self, plan: &Plan) {
        plan.head.iter().for_each(|comment| self.comment(comment));
        for (place, text) in &plan.settings {
            self.begin(place, &[]);
            text.lines().for_each(|line| self.put(line));
        }
        plan.probes.iter().for_each(|probe| self.probe(probe));
        plan.pools.iter().for_each(|pool| self.pool(pool));
        plan.acls.iter().for_each(|acl| self.acl(acl));
        self.acl_of = plan.acl_of.clone();
        plan.rules.iter().for_each(|rule| self.rule(rule));
        plan.nat_rules.iter().for_each(|rule| self.nat_rule(rule));
        plan.outbound.iter().for_each(|rule| self.outbound(rule));
    }

    fn put(&mut self, line: &str) {
        self.line += 1;
        let _ = writeln!(self.text, "{line}");
    }

    fn comment(&mut self, comment: &str) {
        let comment = one_line(comment, COMMENT_MAX);
        self.put(format!("# {comment}").trim_end());
    }

    fn begin(&mut self, place: &Place, comments: &[String]) {
        if self.line > 0 {
            self.put("");
        }
        self.sections.push((self.line + 1, place.clone()));
        comments.iter().for_each(|comment| self.comment(comment));
    }

    fn section(&mut self, heading: &str, place: &Place, comments: &[String]) {
        let mut all = vec![place.to_string()];
        all.extend_from_slice(comments);
        self.begin(place, &all);
        self.put(heading);
    }

    fn plain(&mut self, key: &str, value: impl Display) {
        self.put(&format!("{key} = {value}"));
    }

    fn quoted(&mut self, key: &str, value: impl Display) {
        self.plain(key, quoted(value));
    }

    fn pool(&mut self, pool: &Pool) {
        let Pool { name, place, comments, members, drain_timeout } = pool;
        self.section("[[pool]]", place, comments);
        self.quoted("name", name);
        drain_timeout
            .iter()
            .for_each(|timeout| self.quoted("drain_timeout", humantime::format_duration(*timeout)));
        match members {
            Members::Range(range, instances) => {
                self.quoted("addresses", format!("{}-{}", range.first, range.last));
                self.plain("instances", instances);
            }
            Members::List(list) => self.backends(list),
        }
    }

    fn backends(&mut self, list: &[(IpAddr, AdminState)]) {
        if list.is_empty() {
            self.put("backends = []");
            return;
        }
        self.put("backends = [");
        for (address, state) in list {
            match state {
                AdminState::Auto => self.put(&format!("  {{ address = \"{address}\" }},")),
                state => self.put(&format!("  {{ address = \"{address}\", state = \"{state}\" }},")),
            }
        }
        self.put("]");
    }

    fn acl(&mut self, acl: &Acl) {
        let Acl { name, place, lines } = acl;
        self.section("[[acl]]", place, &[]);
        self.quoted("name", name);
        self.put("rules = [");
        for (line, description) in lines {
            description.iter().for_each(|text| self.put(&format!("  # {}", one_line(text, COMMENT_MAX))));
            self.put(&format!("  {},", quoted(line)));
        }
        self.put("]");
    }

    fn acl_of(&mut self, rule: &str) {
        let name = self.acl_of.get(rule).cloned();
        name.iter().for_each(|name| self.quoted("acl", name));
    }

    fn probe(&mut self, probe: &Probe) {
        let Probe { name, place, comments, kind, port, path, interval, timeout, threshold } = probe;
        self.section("[[probe]]", place, comments);
        self.quoted("name", name);
        self.quoted("kind", kind);
        port.iter().for_each(|port| self.plain("port", port));
        path.iter().for_each(|path| self.quoted("path", path));
        self.quoted("interval", humantime::format_duration(*interval));
        self.quoted("timeout", humantime::format_duration(*timeout));
        self.plain("rise", threshold);
        self.plain("fall", threshold);
    }

    fn rule(&mut self, rule: &Rule) {
        let Rule {
            name,
            place,
            comments,
            frontend,
            pool,
            backend_port,
            distribution,
            treatment,
            probe,
            no_healthy_backends,
        } = rule;
        self.section("[[rule]]", place, comments);
        self.quoted("name", name);
        self.quoted("frontend", frontend.text());
        self.quoted("pool", pool);
        if !treatment.floating && frontend.port != 0 && *backend_port != frontend.port {
            self.plain("backend_port", backend_port);
        }
        if *distribution != Distribution::FiveTuple {
            self.quoted("distribution", distribution);
        }
        self.treatment(treatment, frontend.protocol);
        probe.iter().for_each(|name| self.quoted("probe", name));
        if *no_healthy_backends != NoHealthyBackends::Drop {
            self.quoted("no_healthy_backends", no_healthy_backends);
        }
        self.acl_of(name);
    }

    fn treatment(&mut self, treatment: &Treatment, protocol: Protocol) {
        if treatment.floating {
            self.quoted("forward", "dsr");
        }
        self.quoted("idle_timeout", format!("{}m", treatment.idle_minutes));
        if treatment.tcp_reset && !treatment.floating && protocol != Protocol::Udp {
            self.plain("tcp_reset", true);
        }
    }

    fn nat_rule(&mut self, rule: &NatRule) {
        let NatRule { name, place, comments, frontend, last_port, target, backend_port, treatment } = rule;
        self.section("[[nat_rule]]", place, comments);
        self.quoted("name", name);
        match target {
            Target::One(address) => {
                self.quoted("frontend", frontend.text());
                // Where packets keep their port, there is none to be said.
                if treatment.floating || frontend.is_whole() {
                    self.quoted("backend", address);
                } else {
                    self.quoted("backend", SocketAddr::new(*address, *backend_port));
                }
            }
            Target::Pool(pool, _) => {
                let ends = format!("{}-{last_port}", SocketAddr::new(frontend.address, frontend.port));
                self.quoted("frontend", format!("{ends}/{}", frontend.protocol.word()));
                self.quoted("pool", pool);
                if !treatment.floating {
                    self.plain("backend_port", backend_port);
                }
            }
        }
        self.treatment(treatment, frontend.protocol);
        self.acl_of(name);
    }

    fn outbound(&mut self, rule: &OutboundRule) {
        let OutboundRule {
            name,
            place,
            comments,
            pool,
            frontends,
            protocol,
            ports_per_backend,
            idle_minutes,
            tcp_reset,
        } = rule;
        self.section("[[outbound_rule]]", place, comments);
        self.quoted("name", name);
        self.quoted("pool", pool);
        self.plain("frontends", format!("[{}]", frontends.iter().map(quoted).collect::<Vec<_>>().join(", ")));
        self.quoted("protocol", protocol.word());
        if *ports_per_backend > 0 {
            self.plain("ports_per_backend", ports_per_backend);
        }
        self.quoted("idle_timeout", format!("{idle_minutes}m"));
        self.plain("tcp_reset", tcp_reset);
    }

    /// Where the section that has `line` comes from.
    fn place(&self, line: u32) -> Place {
        let after = self.sections.partition_point(|(first, _)| *first <= line);
        let section = after.checked_sub(1).and_then(|at| self.sections.get(at));
        section.map_or_else(|| Place { file: OUTPUT.into(), line: 0, column: 0 }, |(_, place)| place.clone())
    }

    /// A finding that speaks of lines of the text, which nobody sees.
    fn translated(&self, what: &str) -> String {
        let mut pieces = what.split("line ");
        let mut text = pieces.next().unwrap_or_default().to_owned();
        for piece in pieces {
            let digits = piece.bytes().take_while(u8::is_ascii_digit).count();
            match piece.get(..digits).and_then(|number| number.parse().ok()) {
                Some(line) => {
                    text += &format!("{}{}", self.place(line), piece.get(digits..).unwrap_or_default())
                }
                None => text += &format!("line {piece}"),
            }
        }
        text
    }
}

fn quoted(value: impl Display) -> String {
    toml::Value::String(value.to_string()).to_string()
}

#[cfg(test)]
mod tests;
