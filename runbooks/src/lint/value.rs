//! Parameters: a default that fits, bounds that can be met, and what must be given first.

use redress::definition::SourceMap;
use redress_ledger::canonical::INTEGER_MAX;

use crate::error::{Finding, Problem};
use crate::model::{Param, ParamType, Runbook};
use crate::param::compile;

use super::Judge;

impl Judge<'_> {
    pub(super) fn params(&mut self) {
        for (name, param) in &self.runbook.params {
            self.param(&format!("/params/{name}"), param);
        }
    }

    fn param(&mut self, path: &str, param: &Param) {
        let before = self.findings.len();
        let wrong = |why: &str| Problem::Param(format!("the parameter {why}"));
        if let Some(pattern) = &param.pattern {
            let path = format!("{path}/pattern");
            if param.kind != ParamType::Text {
                self.find(path, wrong("is no text, so it cannot have a pattern"));
            } else if let Err(why) = compile(pattern) {
                self.find(path, wrong(&why));
            }
        }
        let bounded = matches!(param.kind, ParamType::Integer | ParamType::Text);
        if param.min.is_some() && param.kind != ParamType::Integer {
            self.find(
                format!("{path}/min"),
                wrong("is no whole number, so it has no smallest"),
            );
        }
        if param.max.is_some() && !bounded {
            self.find(
                format!("{path}/max"),
                wrong("is neither a whole number nor a text, so it has no largest"),
            );
        }
        if param.min.unwrap_or(-INTEGER_MAX) > param.max.unwrap_or(INTEGER_MAX) {
            self.find(
                format!("{path}/max"),
                wrong("can have no value: the largest is less than the smallest"),
            );
        }
        if param.kind == ParamType::Text && param.max.is_some_and(|max| max < 1) {
            self.find(
                format!("{path}/max"),
                wrong("can have no value: a text has at least one character"),
            );
        }
        if self.findings.len() > before {
            return;
        }
        for (at, value) in param.values.iter().enumerate() {
            if let Err(why) = param.fits(value) {
                self.find(
                    format!("{path}/values/{at}"),
                    Problem::Param(format!("this value {why}")),
                );
            }
        }
        if let Some(default) = &param.default
            && let Err(why) = param.fits(default)
        {
            self.find(
                format!("{path}/default"),
                Problem::Param(format!("the default {why}")),
            );
        }
    }
}

/// In a file what must be given stands before what may be given.
pub(super) fn params_in_order(book: &Runbook, map: &SourceMap) -> Vec<Finding> {
    let place = |name: &str| {
        let at = map.locate_key(&format!("/params/{name}"));
        (at.line, at.column)
    };
    let optional = book
        .params
        .iter()
        .filter(|(_, param)| param.default.is_some());
    let Some((first, _)) = optional.min_by_key(|(name, _)| place(name.as_str())) else {
        return Vec::new();
    };
    let before = place(first.as_str());
    let late = book
        .params
        .iter()
        .filter(|(name, param)| param.default.is_none() && place(name.as_str()) > before);
    late.map(|(name, _)| {
        let why =
            format!("what must be given stands before what has a default, which is `{first}`");
        Finding::new(format!("/params/{name}"), Problem::Param(why)).at_key()
    })
    .collect()
}
