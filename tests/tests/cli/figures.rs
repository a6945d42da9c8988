//! The pages on what is watched say what the program has: every figure, the rules to alert on, fields and spans.

use std::fs;

use crate::generated::{kept, root};

#[test]
fn the_page_of_figures_is_what_the_list_says() {
    use redress::metric::{ALL, Kind, Source};
    let mut text = String::from(METRICS_HEAD);
    for metric in ALL {
        let kind = match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let from = match metric.source {
            Source::Process => "this process alone",
            Source::Database => "the database, the same from every process",
        };
        let unit = metric.unit().map_or("a number", |unit| unit);
        let labels: Vec<String> = metric
            .labels
            .iter()
            .map(|(label, says)| format!("`{label}` ({says})"))
            .collect();
        let labels = match labels.is_empty() {
            true => "none".to_owned(),
            false => labels.join("; "),
        };
        text.push_str(&format!(
            "\n## `{}`\n\n{}\n\n* **Kind:** {kind}. **Unit:** {unit}. **From:** {from}.\n* **Labels:** {labels}.\n* **Tell somebody:** {}.\n",
            metric.name, metric.help, metric.alert,
        ));
    }
    kept("docs/metrics.md", &text);
}

const METRICS_HEAD: &str = "# Figures

Every figure that Redress gives, one by one. This page is made from the program by a test and is not edited by hand. How to get the
figures, and how spans and fields are named, is in [observability.md](observability.md); rules to begin with are in
[alerts.yml](alerts.yml).

Names and units follow Prometheus: seconds, `_total` for what only grows. Labels are bounded: names of sagas and phases, error codes,
words of a list. No run's id, subject, key or input is ever a label. A figure with labels is absent until it happened once.

What is \"from this process alone\" is summed over all processes; what is from the database is the same from each of them, so take the
`max`. Figures from the database are sampled by one bounded statement when somebody scrapes, at most once a second; when the database
does not answer they stay as they were, with `redress_up 0` and their age in `redress_sample_age_seconds`.
";

#[test]
fn the_alert_rules_use_figures_labels_and_values_that_exist_and_leave_none_out() {
    use redress::metric::ALL;
    let text = fs::read_to_string(root().join("docs/alerts.yml")).expect("the rules");
    let file: RuleFile = serde_saphyr::from_str(&text).expect("rules that parse");
    let mut used = std::collections::BTreeSet::new();
    let mut names = std::collections::BTreeSet::new();
    for rule in file.groups.iter().flat_map(|group| &group.rules) {
        assert!(names.insert(&rule.alert), "{} stands twice", rule.alert);
        assert!(["info", "warning", "critical"].contains(&rule.labels["severity"].as_str()));
        for part in ["summary", "description"] {
            assert!(!rule.annotations[part].is_empty(), "{}", rule.alert);
        }
        if let Some(wait) = &rule.wait {
            let number = wait.trim_end_matches(['s', 'm', 'h']);
            assert!(number.parse::<u32>().is_ok(), "{}: {wait}", rule.alert);
        }
        let found = figures_in(&rule.expr);
        assert!(!found.is_empty(), "{}", rule.alert);
        for (name, matchers) in found {
            let metric = ALL.iter().find(|metric| {
                let rest = name.strip_prefix(metric.name);
                rest.is_some_and(|rest| match metric.kind {
                    redress::metric::Kind::Histogram => {
                        ["_bucket", "_sum", "_count"].contains(&rest)
                    }
                    _ => rest.is_empty(),
                })
            });
            let metric = metric.unwrap_or_else(|| panic!("{}: {name}", rule.alert));
            used.insert(metric.name);
            for (label, values) in matchers {
                let says = metric.labels.iter().find(|(known, _)| *known == label);
                let (_, says) = says.unwrap_or_else(|| panic!("{name} has no {label}"));
                for value in values.split('|') {
                    assert!(
                        says.contains(&format!("`{value}`")),
                        "{name}: {label}={value}"
                    );
                }
            }
        }
    }
    for metric in ALL {
        let wakes = !metric.alert.starts_with("never");
        assert!(
            !wakes || used.contains(metric.name),
            "no rule uses {}",
            metric.name
        );
    }
}

/// The figures of an expression, each with its matchers: label and what it may be.
fn figures_in(expr: &str) -> Vec<(String, Vec<(String, String)>)> {
    let mut found = Vec::new();
    for (at, _) in expr.match_indices("redress_") {
        let rest = &expr[at..];
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let (name, rest) = rest.split_at(end.unwrap_or(rest.len()));
        let inside = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
        let matchers = inside.map_or("", |(inside, _)| inside).split(',');
        let matchers = matchers.filter(|one| !one.is_empty()).map(|one| {
            let (label, value) = one.split_once('=').expect("a matcher");
            let value = value.trim_start_matches('~').trim_matches('"');
            (label.to_owned(), value.to_owned())
        });
        found.push((name.to_owned(), matchers.collect()));
    }
    found
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleFile {
    groups: Vec<RuleGroup>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleGroup {
    #[serde(rename = "name")]
    _name: String,
    rules: Vec<Rule>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    alert: String,
    expr: String,
    #[serde(rename = "for")]
    wait: Option<String>,
    labels: std::collections::BTreeMap<String, String>,
    annotations: std::collections::BTreeMap<String, String>,
}

#[test]
fn the_page_of_observability_names_every_field_and_every_span() {
    let page = fs::read_to_string(root().join("docs/observability.md")).expect("the page");
    for (name, says) in redress::telemetry::FIELDS {
        let row = format!("| `{name}` | {says} |");
        assert!(page.contains(&row), "docs/observability.md lacks {row}");
    }
    for (name, fields, says) in redress::telemetry::SPANS {
        let fields: Vec<String> = fields.iter().map(|field| format!("`{field}`")).collect();
        let row = format!("| `{name}` | {} | {says} |", fields.join(", "));
        assert!(page.contains(&row), "docs/observability.md lacks {row}");
    }
}
