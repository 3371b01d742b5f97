//! Renaming by captures: `from = "modules/+a/+b/#rest"`, `to = "devices/{a}/{rest}"`.
//!
//! In `from`, a level `+name` stands for any one level and keeps it, `#name` as the last level for all
//! that follow, none included; `+` and `#` keep nothing. In `to`, `{name}` puts it there. Where `{rest}`
//! is a level of its own and no level followed, it goes with the slash before it.

use std::collections::BTreeMap;

/// Captures of one template.
pub const CAPTURES_MAX: usize = 16;

/// A renaming of topics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    from: Vec<Level>,
    to: Vec<Vec<Piece>>,
}

/// A level of `from`.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Level {
    Text(String),
    /// Any level, and which capture keeps it.
    One(Option<usize>),
    /// All further levels.
    Rest(Option<usize>),
}

/// A part of a level of `to`.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Capture(usize),
}

/// What is wrong with a template: in which key, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateFault {
    /// `from` or `to`.
    pub key: &'static str,
    /// What would be right.
    pub expected: String,
}

fn fault<T>(key: &'static str, expected: impl Into<String>) -> Result<T, TemplateFault> {
    Err(TemplateFault { key, expected: expected.into() })
}

impl Template {
    /// Reads both sides of a renaming.
    ///
    /// # Errors
    /// Wildcards and captures that do not stand where they may, a capture that `to` names and `from`
    /// does not have, or one that either names twice.
    pub fn parse(from: &str, to: &str) -> Result<Self, TemplateFault> {
        let mut names: BTreeMap<String, usize> = BTreeMap::new();
        let mut levels = Vec::new();
        let count = from.split('/').count();
        for (index, text) in from.split('/').enumerate() {
            let level = match text.as_bytes().first() {
                Some(b'+') => Level::One(capture(&mut names, &text[1..])?),
                Some(b'#') if index + 1 == count => Level::Rest(capture(&mut names, &text[1..])?),
                Some(b'#') => return fault("from", "# as the last level"),
                _ if text.contains(['+', '#', '{', '}', '\0']) => {
                    return fault("from", "+ and # at the beginning of a level");
                }
                _ => Level::Text(text.into()),
            };
            levels.push(level);
        }
        let mut used = Vec::new();
        let to: Vec<Vec<Piece>> = to
            .split('/')
            .map(|level| pieces(level, &names, &mut used))
            .collect::<Result<_, _>>()?;
        Ok(Self { from: levels, to })
    }

    /// The topic filter of `from`.
    pub fn filter(&self) -> String {
        let level = |level: &Level| match level {
            Level::Text(text) => text.clone(),
            Level::One(_) => "+".into(),
            Level::Rest(_) => "#".into(),
        };
        self.from.iter().map(level).collect::<Vec<_>>().join("/")
    }

    /// The way back.
    ///
    /// # Errors
    /// `to` does not tell all that `from` had.
    pub fn reversed(&self) -> Result<Self, TemplateFault> {
        let expected = "each capture of from as a level of its own, and no + or # without a name, \
                        for direction = \"both\"";
        let mut from = Vec::new();
        let mut captures = 0;
        for level in &self.to {
            from.push(match level.as_slice() {
                [] => Level::Text(String::new()),
                [Piece::Text(text)] => Level::Text(text.clone()),
                [Piece::Capture(index)] => {
                    captures += 1;
                    let is_rest = self.from.contains(&Level::Rest(Some(*index)));
                    if is_rest { Level::Rest(Some(*index)) } else { Level::One(Some(*index)) }
                }
                _ => return fault("to", expected),
            });
        }
        let rest = from.iter().position(|level| matches!(level, Level::Rest(_)));
        if rest.is_some_and(|at| at + 1 < from.len()) {
            return fault("to", "the rest as the last level, for direction = \"both\"");
        }
        let mut to = Vec::new();
        for level in &self.from {
            to.push(match level {
                Level::Text(text) => vec![Piece::Text(text.clone())],
                Level::One(Some(index)) | Level::Rest(Some(index)) => {
                    captures -= 1;
                    vec![Piece::Capture(*index)]
                }
                Level::One(None) | Level::Rest(None) => return fault("from", expected),
            });
        }
        if captures != 0 { fault("to", expected) } else { Ok(Self { from, to }) }
    }

    /// How many bytes a topic can grow by.
    pub fn growth_bytes(&self) -> usize {
        let text = |piece: &Piece| match piece {
            Piece::Text(text) => text.len(),
            Piece::Capture(_) => 0,
        };
        self.to.iter().map(|level| 1 + level.iter().map(text).sum::<usize>()).sum()
    }

    /// Writes behind `mapped` what `topic` is called. False: it does not fit.
    pub fn map(&self, topic: &str, mapped: &mut String) -> bool {
        let mut captures: [Option<&str>; CAPTURES_MAX] = [None; CAPTURES_MAX];
        let Some(()) = self.capture(topic, &mut captures) else { return false };
        let mut is_first = true;
        for level in &self.to {
            if let [Piece::Capture(index)] = level.as_slice()
                && captures[*index].is_none()
            {
                continue; // No level followed.
            }
            if !std::mem::take(&mut is_first) {
                mapped.push('/');
            }
            for piece in level {
                match piece {
                    Piece::Text(text) => mapped.push_str(text),
                    Piece::Capture(index) => mapped.push_str(captures[*index].unwrap_or_default()),
                }
            }
        }
        true
    }

    /// What topics are called that a filter matches, which matches no more than that of `from`. A filter
    /// again, which may match more: where a wildcard would be part of a level, all may follow.
    pub fn image(&self, filter: &str) -> Option<String> {
        let mut captures: [Option<&str>; CAPTURES_MAX] = [None; CAPTURES_MAX];
        self.capture(filter, &mut captures)?;
        let mut levels: Vec<String> = Vec::new();
        for level in &self.to {
            if let [Piece::Capture(index)] = level.as_slice()
                && captures[*index].is_none()
            {
                continue; // No level followed.
            }
            let text = |piece: &Piece| match piece {
                Piece::Text(text) => text.clone(),
                Piece::Capture(index) => captures[*index].unwrap_or_default().to_owned(),
            };
            let whole: String = level.iter().map(text).collect();
            let is_mixed = level.len() > 1 && whole.contains(['+', '#']);
            levels.push(if is_mixed { "#".to_owned() } else { whole });
            if levels.last().is_some_and(|last| last.ends_with('#')) {
                break;
            }
        }
        Some(levels.join("/"))
    }

    fn capture<'t>(
        &self,
        topic: &'t str,
        captures: &mut [Option<&'t str>; CAPTURES_MAX],
    ) -> Option<()> {
        let mut left = Some(topic);
        for level in &self.from {
            if let Level::Rest(index) = level {
                if let Some(index) = index {
                    captures[*index] = left;
                }
                return Some(());
            }
            let text = left?;
            let (first, rest) = match text.split_once('/') {
                Some((first, rest)) => (first, Some(rest)),
                None => (text, None),
            };
            match level {
                Level::Text(expected) if expected != first => return None,
                Level::One(Some(index)) => captures[*index] = Some(first),
                _ => {}
            }
            left = rest;
        }
        left.is_none().then_some(())
    }
}

/// The number of a new capture; none where it has no name.
fn capture(
    names: &mut BTreeMap<String, usize>,
    name: &str,
) -> Result<Option<usize>, TemplateFault> {
    if name.is_empty() {
        return Ok(None);
    }
    if !is_name(name) {
        return fault("from", "captures with names of a-z A-Z 0-9 and _");
    }
    if names.len() == CAPTURES_MAX {
        return fault("from", format!("at most {CAPTURES_MAX} captures"));
    }
    let index = names.len();
    match names.insert(name.into(), index) {
        None => Ok(Some(index)),
        Some(_) => fault("from", format!("{name} once")),
    }
}

/// Whether captures and variables may have this name.
pub fn is_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_';
    !name.is_empty() && name.len() <= 32 && name.chars().all(allowed)
}

fn pieces(
    level: &str,
    names: &BTreeMap<String, usize>,
    used: &mut Vec<usize>,
) -> Result<Vec<Piece>, TemplateFault> {
    let mut pieces = Vec::new();
    let mut left = level;
    while !left.is_empty() {
        let text = &left[..left.find('{').unwrap_or(left.len())];
        if text.contains(['+', '#', '}', '\0']) {
            return fault("to", "no wildcards, and braces around names alone");
        }
        if !text.is_empty() {
            pieces.push(Piece::Text(text.into()));
        }
        left = &left[text.len()..];
        if let Some(rest) = left.strip_prefix('{') {
            let Some((name, rest)) = rest.split_once('}') else {
                return fault("to", "a } behind each {");
            };
            let Some(index) = names.get(name) else {
                return fault("to", format!("{{{name}}} to be a capture of from or a variable"));
            };
            if used.contains(index) {
                return fault("to", format!("{{{name}}} once"));
            }
            used.push(*index);
            pieces.push(Piece::Capture(*index));
            left = rest;
        }
    }
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mapped(from: &str, to: &str, topic: &str) -> Option<String> {
        let mut mapped = String::new();
        let template = Template::parse(from, to).expect("it is right");
        template.map(topic, &mut mapped).then_some(mapped)
    }

    #[test]
    fn captures_stand_where_they_are_put() {
        let (from, to) = ("modules/+a/+b/#rest", "devices/x/{b}-{a}/{rest}");
        let topic = "modules/1/2/t/deep";
        assert_eq!(mapped(from, to, topic).as_deref(), Some("devices/x/2-1/t/deep"));
        assert_eq!(mapped(from, to, "modules/1/2").as_deref(), Some("devices/x/2-1"));
        assert_eq!(mapped(from, to, "modules/1/2/").as_deref(), Some("devices/x/2-1/"));
        assert_eq!(mapped(from, to, "modules/1"), None);
        assert_eq!(mapped(from, to, "other/1/2/t"), None);
        assert_eq!(mapped("+/+b", "{b}", "a/b").as_deref(), Some("b"));
        assert_eq!(mapped("+/+b", "{b}", "a/b/c"), None);
        assert_eq!(mapped("a/#", "b", "a/x/y").as_deref(), Some("b"));
    }

    #[test]
    fn the_filter_is_that_of_the_source() {
        let template = Template::parse("m/+a/+/x/#rest", "d/{a}/{rest}").unwrap();
        assert_eq!(template.filter(), "m/+/+/x/#");
    }

    #[test]
    fn the_image_of_a_filter() {
        let image = |from: &str, to: &str, filter: &str| {
            Template::parse(from, to).expect("it is right").image(filter)
        };
        let (from, to) = ("m/+a/+b/#rest", "d/{b}/{a}/{rest}");
        assert_eq!(image(from, to, "m/1/+/#").as_deref(), Some("d/+/1/#"));
        assert_eq!(image(from, to, "m/1/2").as_deref(), Some("d/2/1"));
        assert_eq!(image(from, to, "m/1/2/x/+").as_deref(), Some("d/2/1/x/+"));
        assert_eq!(image(from, "d/{a}-{b}/x", "m/1/2/#").as_deref(), Some("d/1-2/x"));
        assert_eq!(image(from, "d/{a}-{b}/x", "m/1/+/#").as_deref(), Some("d/#"));
        assert_eq!(image(from, "{rest}/x", "m/1/2/#").as_deref(), Some("#"));
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_key() {
        for (from, to, key) in [
            ("a/#r/b", "x", "from"),
            ("a+b", "x", "from"),
            ("a/+x-y", "x", "from"),
            ("+a/+a", "{a}", "from"),
            ("+a", "x/+", "to"),
            ("+a", "{b}", "to"),
            ("+a", "{a", "to"),
            ("+a", "{a}/{a}", "to"),
            ("+a", "a}", "to"),
        ] {
            assert_eq!(Template::parse(from, to).unwrap_err().key, key, "{from} {to}");
        }
        let many = (0..17).map(|n| format!("+c{n}")).collect::<Vec<_>>().join("/");
        assert_eq!(Template::parse(&many, "x").unwrap_err().key, "from");
    }

    #[test]
    fn only_what_tells_all_has_a_way_back() {
        let reversed = |from, to| Template::parse(from, to).unwrap().reversed();
        let back = reversed("modules/+a/+b/#rest", "d/{b}/s/{a}/{rest}").unwrap();
        assert_eq!(back, Template { ..back.clone() });
        assert_eq!(back.filter(), "d/+/s/+/#");
        let mut topic = String::new();
        assert!(back.map("d/2/s/1/t/u", &mut topic));
        assert_eq!(topic, "modules/1/2/t/u");
        for (from, to) in
            [("+a/+b", "{a}"), ("+a/+", "{a}"), ("+a", "x{a}"), ("+a/#r", "{r}/{a}"), ("#", "x")]
        {
            assert!(reversed(from, to).is_err(), "{from} {to}");
        }
    }

    proptest! {
        #[test]
        fn there_and_back_is_the_same(topic in "m/[a-c]{0,2}/[a-c]{0,2}(/[a-c]{0,2}){0,3}") {
            let there = Template::parse("m/+a/+b/#rest", "d/{b}/x/{a}/{rest}").unwrap();
            let back = there.reversed().unwrap();
            let (mut far, mut near) = (String::new(), String::new());
            prop_assert!(there.map(&topic, &mut far));
            prop_assert!(back.map(&far, &mut near));
            prop_assert_eq!(near, topic);
        }
    }
}
