//! The result of a run: named values in the order in which they were put, as one line of JSON.

use std::fmt;

/// What a run has found. Names are plain ASCII, so that nothing needs an escape.
pub(crate) struct Report {
    fields: Vec<(&'static str, String)>,
}

impl Report {
    pub(crate) fn new(scenario: &'static str) -> Self {
        Self { fields: vec![("scenario", format!("\"{scenario}\""))] }
    }

    pub(crate) fn count(&mut self, name: &'static str, value: u64) {
        self.fields.push((name, value.to_string()));
    }

    /// Left out where there is no value, or none that JSON can say.
    pub(crate) fn number(&mut self, name: &'static str, value: impl Into<Option<f64>>) {
        if let Some(value) = value.into().filter(|value| value.is_finite()) {
            self.fields.push((name, format!("{value:.4}")));
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, value)) in self.fields.iter().enumerate() {
            let before = if index == 0 { "{" } else { ", " };
            write!(f, "{before}\"{name}\": {value}")?;
        }
        f.write_str("}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_one_line_of_json_without_what_json_cannot_say() {
        let mut report = Report::new("fanin");
        report.count("delivered", 3);
        report.number("ratio", 0.5);
        report.number("per_message", 1.0 / 0.0);
        report.number("p99_us", None);
        assert_eq!(report.to_string(), r#"{"scenario": "fanin", "delivered": 3, "ratio": 0.5000}"#);
    }
}
