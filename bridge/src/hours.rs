//! Hours of the day in which a link may be there, for lines that are cheap at night.

use std::fmt;

const DAY_MIN: u32 = 24 * 60;

/// A part of each day, in minutes since midnight; `to` is the first minute outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    from: u32,
    to: u32,
}

/// Parts of the day, in local time. None at all: always.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hours {
    spans: Vec<Span>,
}

/// Whether it is time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// It is, for ever.
    Always,
    /// It is, for so many seconds more.
    Open {
        /// 1 or more.
        for_s: u32,
    },
    /// It will be in so many seconds.
    Closed {
        /// 1 or more.
        for_s: u32,
    },
}

/// What a text of hours looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoHours;

impl fmt::Display for NoHours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "HH:MM-HH:MM such as 01:00-05:00, or 22:30-05:00 over midnight, 24:00 at the latest",
        )
    }
}

impl Hours {
    /// Hours as the configuration has them, `01:00-05:00`; over midnight where the end is earlier.
    ///
    /// # Errors
    /// The first text that is none.
    pub fn parse(texts: &[String]) -> Result<Self, NoHours> {
        let span = |text: &String| Span::parse(text).ok_or(NoHours);
        Ok(Self { spans: texts.iter().map(span).collect::<Result<_, _>>()? })
    }

    /// What holds at a second of the day, 0 to 86399.
    pub fn at(&self, second: u32) -> Opening {
        if self.spans.is_empty() {
            return Opening::Always;
        }
        let minute = second / 60;
        if !self.is_open(minute) {
            let after = (1..=DAY_MIN).find(|after| self.is_open((minute + after) % DAY_MIN));
            return Opening::Closed { for_s: seconds_to(second, after.unwrap_or(DAY_MIN)) };
        }
        match (1..=DAY_MIN).find(|after| !self.is_open((minute + after) % DAY_MIN)) {
            None => Opening::Always,
            Some(after) => Opening::Open { for_s: seconds_to(second, after) },
        }
    }

    fn is_open(&self, minute: u32) -> bool {
        self.spans.iter().any(|span| span.contains(minute))
    }
}

/// From `second` until so many minutes after the beginning of its minute.
fn seconds_to(second: u32, minutes: u32) -> u32 {
    minutes * 60 - second % 60
}

impl Span {
    fn parse(text: &str) -> Option<Self> {
        let (from, to) = text.split_once('-')?;
        let span = Self { from: minutes_of(from)?, to: minutes_of(to)? };
        (span.from != span.to && span.from < DAY_MIN).then_some(span)
    }

    fn contains(self, minute: u32) -> bool {
        if self.from < self.to {
            (self.from..self.to).contains(&minute)
        } else {
            minute >= self.from || minute < self.to
        }
    }
}

fn minutes_of(text: &str) -> Option<u32> {
    let (hour, minute) = text.split_once(':')?;
    let number = |text: &str| {
        let is_fine = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        is_fine.then(|| text.parse::<u32>().ok()).flatten()
    };
    let (hour, minute) = (number(hour)?, number(minute)?);
    (minute < 60 && hour * 60 + minute <= DAY_MIN).then_some(hour * 60 + minute)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hours(texts: &[&str]) -> Hours {
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        Hours::parse(&texts).expect("they are hours")
    }

    const H: u32 = 3600;

    #[test]
    fn without_hours_it_is_always_time() {
        assert_eq!(hours(&[]).at(0), Opening::Always);
        assert_eq!(hours(&["00:00-24:00"]).at(12 * H), Opening::Always);
        assert_eq!(hours(&["12:00-24:00", "00:00-12:00"]).at(12 * H), Opening::Always);
    }

    #[test]
    fn a_night() {
        let night = hours(&["01:00-05:00"]);
        assert_eq!(night.at(0), Opening::Closed { for_s: H });
        assert_eq!(night.at(H - 1), Opening::Closed { for_s: 1 });
        assert_eq!(night.at(H), Opening::Open { for_s: 4 * H });
        assert_eq!(night.at(5 * H - 1), Opening::Open { for_s: 1 });
        assert_eq!(night.at(5 * H), Opening::Closed { for_s: 20 * H });
    }

    #[test]
    fn over_midnight_and_joined() {
        let night = hours(&["22:30-01:00", "01:00-02:00"]);
        assert_eq!(night.at(23 * H), Opening::Open { for_s: 3 * H });
        assert_eq!(night.at(0), Opening::Open { for_s: 2 * H });
        assert_eq!(night.at(12 * H), Opening::Closed { for_s: 10 * H + 1800 });
    }

    #[test]
    fn what_is_no_hours() {
        for text in [
            "",
            "1:00-5:00",
            "01:00",
            "01:00-01:00",
            "25:00-26:00",
            "24:00-01:00",
            "01:60-02:00",
            "01:00-24:01",
            "aa:bb-cc:dd",
            "+1:00-02:00",
        ] {
            assert_eq!(Hours::parse(&[text.to_owned()]), Err(NoHours), "{text}");
        }
    }
}
