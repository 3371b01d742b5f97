//! `outpost sub`: subscribes and shows what comes, as mosquitto_sub does.

mod format;
mod inbox;
mod json;
mod message;
mod printer;
mod subscriber;

use std::io::BufWriter;
use std::time::Duration;

use clap::Args;
use outpost_protocol::{RetainHandling, TopicFilter};
use tokio::runtime;

use super::client::{ClientOptions, Reporter, Settings, Target};
use super::output::{Failure, Output};
use crate::config::io_reason;
use format::Format;
use inbox::Selection;
use printer::{Printer, Style};
use subscriber::{Subscriber, Subscriptions};

const COMMAND: &str = "sub";

/// What is written at once, in bytes, between two looks at the connection.
const OUTPUT_BYTES: usize = 64 * 1024;

/// Subscribe and show the messages
///
/// Options and exit codes are those of mosquitto_sub; 27 is for -W. Each message is written before
/// it is acknowledged. Lost connections are opened again until Ctrl-C.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub(super) struct Arguments {
    /// A topic filter to subscribe to; repeatable
    #[arg(short, long, value_name = "FILTER")]
    topic: Vec<String>,
    /// A topic filter to unsubscribe from; repeatable
    #[arg(short = 'U', long, value_name = "FILTER")]
    unsubscribe: Vec<String>,
    /// Exit when all subscriptions are answered
    #[arg(short = 'E')]
    exit_after_subscribing: bool,
    /// Exit after so many messages
    #[arg(short = 'C', value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Exit so many seconds after the connection was made, with exit code 27
    #[arg(short = 'W', value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..))]
    timeout_s: Option<u32>,

    /// Do not show the messages of these topics; repeatable
    #[arg(short = 'T', long, value_name = "FILTER", help_heading = "Selection")]
    filter_out: Vec<String>,
    /// Do not show retained messages
    #[arg(short = 'R', help_heading = "Selection")]
    no_retained: bool,
    /// Show retained messages only; exit at the first other one
    #[arg(long, conflicts_with = "no_retained", help_heading = "Selection")]
    retained_only: bool,
    /// Show about this share of the messages, in per cent
    #[arg(long, value_name = "PERCENT", value_parser = parse_percent, help_heading = "Selection")]
    random_filter: Option<f64>,
    /// Delete each retained message that comes (-T keeps those of its topics)
    #[arg(long, help_heading = "Selection")]
    remove_retained: bool,
    /// Keep the retain flag of each message as it was published (5.0)
    #[arg(long, help_heading = "Selection")]
    retain_as_published: bool,
    /// Which retained messages to send: 0 all, 1 those of new subscriptions, 2 none (5.0)
    #[arg(long, value_name = "OPTION", value_parser = parse_retain_handling, help_heading = "Selection")]
    retain_handling: Option<RetainHandling>,
    /// Leave out the messages that this client published itself (5.0)
    #[arg(long, help_heading = "Selection")]
    no_local: bool,

    /// Show the topic before the payload
    #[arg(short, long, help_heading = "Output")]
    verbose: bool,
    /// Write no line feed after each message
    #[arg(short = 'N', help_heading = "Output")]
    no_line_feed: bool,
    /// Show each message in this format
    ///
    /// %t topic, %p payload, %x %X payload in hexadecimal, %l its length, %q QoS, %r retain, %m
    /// packet identifier, %I date and time, %U seconds since 1970, %j JSON, %J JSON with a payload
    /// that is JSON itself, %% a %. 5.0: %A topic alias, %C content type, %D correlation data, %E
    /// message expiry interval, %F payload format indicator, %P user properties, %R response topic,
    /// %S subscription identifier. After the % may stand - (left), 0 (zeros), a width and .maximum.
    /// @X is %X of strftime, @N nanoseconds, @@ an @. \n \t \r \a \e \v \0 \\ as in C.
    #[arg(short = 'F', value_name = "FORMAT", allow_hyphen_values = true, help_heading = "Output")]
    format: Option<Format>,
    /// Write JSON (%j, %J) on many lines
    #[arg(long, help_heading = "Output")]
    pretty: bool,

    #[command(flatten)]
    client: ClientOptions,
}

fn parse_percent(text: &str) -> Result<f64, String> {
    let percent = text.parse().ok().filter(|percent| (0.01..=100.0).contains(percent));
    percent.ok_or_else(|| "must be 0.01 to 100".into())
}

fn parse_retain_handling(text: &str) -> Result<RetainHandling, String> {
    match text {
        "0" => Ok(RetainHandling::SendAtSubscribe),
        "1" => Ok(RetainHandling::SendAtSubscribeIfNew),
        "2" => Ok(RetainHandling::DoNotSend),
        _ => Err("must be 0, 1 or 2".into()),
    }
}

pub(super) fn execute(arguments: Arguments, output: &mut Output<'_>) -> Result<(), Failure> {
    run(arguments, output).map_err(|failure| failure.of(COMMAND))
}

fn run(arguments: Arguments, output: &mut Output<'_>) -> Result<(), Failure> {
    let plan = Plan::new(arguments).map_err(|error| Failure::usage([error]))?;
    let reporter = Reporter::new(COMMAND, plan.settings.quiet, plan.settings.debug);
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::work(format!("cannot start: {}", io_reason(&error))))?;
    let out = BufWriter::with_capacity(OUTPUT_BYTES, &mut *output.out);
    let ended = runtime.block_on(Subscriber::new(plan, reporter, out).run());
    // A name that is still looked up keeps nobody waiting.
    runtime.shutdown_background();
    ended
}

/// What is to be done, once all options are known.
struct Plan {
    settings: Settings,
    subscriptions: Subscriptions,
    selection: Selection,
    printer: Printer,
    exit_after_subscribing: bool,
    timeout: Option<Duration>,
}

impl Plan {
    fn new(arguments: Arguments) -> Result<Self, String> {
        let needs_v5 = [
            (arguments.retain_as_published, "--retain-as-published"),
            (arguments.retain_handling.is_some(), "--retain-handling"),
            (arguments.no_local, "--no-local"),
        ];
        let needs_v5 = needs_v5.into_iter().find_map(|(given, name)| given.then_some(name));
        let mut settings = Settings::new(arguments.client, needs_v5)?;
        let mut filters = arguments.topic;
        filters.extend(settings.topic.take());
        if filters.is_empty() && arguments.unsubscribe.is_empty() {
            return Err("a topic filter is needed: -t, -U, or -L with one".into());
        }
        check_filters("-t", &filters)?;
        check_filters("-U", &arguments.unsubscribe)?;
        check_filters("-T", &arguments.filter_out)?;
        let style = match (arguments.format, arguments.verbose) {
            (Some(format), _) => Style::Format(format),
            (None, true) => Style::Verbose,
            (None, false) => Style::Payload,
        };
        let subscriptions = Subscriptions {
            filters,
            unsubscribe: arguments.unsubscribe,
            no_local: arguments.no_local,
            retain_as_published: arguments.retain_as_published,
            retain_handling: arguments.retain_handling.unwrap_or(RetainHandling::SendAtSubscribe),
            properties: settings.properties.encoded(Target::Subscribe),
            unsubscribe_properties: settings.properties.encoded(Target::Unsubscribe),
        };
        Ok(Self {
            settings,
            subscriptions,
            selection: Selection {
                filter_out: arguments.filter_out,
                no_retained: arguments.no_retained,
                retained_only: arguments.retained_only,
                remove_retained: arguments.remove_retained,
                percent: arguments.random_filter,
                count: arguments.count,
            },
            printer: Printer {
                style,
                line_feed: !arguments.no_line_feed,
                pretty: arguments.pretty,
            },
            exit_after_subscribing: arguments.exit_after_subscribing,
            timeout: arguments.timeout_s.map(|s| Duration::from_secs(s.into())),
        })
    }
}

fn check_filters(option: &str, filters: &[String]) -> Result<(), String> {
    for filter in filters {
        TopicFilter::new(filter).map_err(|error| format!("{option} {filter}: {error}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::output::capture;
    use super::*;

    #[derive(Debug, Parser)]
    #[command(disable_help_flag = true)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn parse(line: &str) -> Result<Arguments, clap::Error> {
        let words = ["sub"].into_iter().chain(line.split(' ').filter(|word| !word.is_empty()));
        Line::try_parse_from(words).map(|line| line.arguments)
    }

    fn plan(line: &str) -> Plan {
        Plan::new(parse(line).unwrap()).map_err(|error| panic!("{line}: {error}")).unwrap()
    }

    #[test]
    fn what_the_user_types() {
        let plan = plan(
            "-t a/# -t b -U c -T a/x -T a/+/y -R --remove-retained --random-filter 50 -C 3 -W 9 -v \
             -N -E",
        );
        assert_eq!(plan.subscriptions.filters, ["a/#", "b"]);
        assert_eq!(plan.subscriptions.unsubscribe, ["c"]);
        assert_eq!(plan.selection.filter_out, ["a/x", "a/+/y"]);
        assert!(plan.selection.no_retained && plan.selection.remove_retained);
        assert_eq!((plan.selection.percent, plan.selection.count), (Some(50.0), Some(3)));
        assert_eq!(plan.timeout, Some(Duration::from_secs(9)));
        assert!(matches!(plan.printer.style, Style::Verbose));
        assert!(!plan.printer.line_feed && plan.exit_after_subscribing);
    }

    #[test]
    fn a_format_goes_before_verbose() {
        assert!(matches!(plan("-t a -v -F %p").printer.style, Style::Format(_)));
        assert!(matches!(plan("-t a").printer.style, Style::Payload));
    }

    #[test]
    fn options_that_need_5_0_choose_it() {
        use outpost_protocol::ProtocolVersion::{V5, V311};
        for (line, version) in [
            ("-t a", V311),
            ("-t a --no-local", V5),
            ("-t a --retain-as-published", V5),
            ("-t a --retain-handling 2", V5),
        ] {
            assert_eq!(plan(line).settings.version, version, "{line}");
        }
        let with_311 = parse("-t a --retain-handling 1 -V 311").unwrap();
        let error = Plan::new(with_311).map(drop).unwrap_err();
        assert_eq!(error, "--retain-handling needs MQTT 5.0: -V 5");
    }

    #[test]
    fn the_filter_of_the_url_joins_the_others() {
        assert_eq!(plan("-L mqtt://h/u/# -t a").subscriptions.filters, ["a", "u/#"]);
    }

    #[test]
    fn what_is_wrong_is_told() {
        for (line, error) in [
            ("-t a -F %z", "there is no %z"),
            ("-t a -C 0", "0 is not in 1.."),
            ("-t a -W 0", "0 is not in 1.."),
            ("-t a --random-filter 101", "must be 0.01 to 100"),
            ("-t a --retain-handling 3", "must be 0, 1 or 2"),
            ("-t a -R --retained-only", "cannot be used with"),
        ] {
            let found = parse(line).unwrap_err();
            assert!(found.to_string().contains(error), "{line}: {found}");
            assert_eq!(found.exit_code(), 2);
        }
        for (line, expected) in [
            ("-v", "outpost sub: a topic filter is needed: -t, -U, or -L with one\n"),
            ("-t a -D publish topic-alias 1 -V 311", "outpost sub: -D needs MQTT 5.0: -V 5\n"),
        ] {
            let arguments = parse(line).unwrap();
            let (_, err, code) = capture(|output| execute(arguments, output));
            assert_eq!((err.as_str(), code), (expected, 2), "{line}");
        }
        let (_, err, code) = capture(|output| execute(parse("-t a/#/b").unwrap(), output));
        assert!(err.starts_with("outpost sub: -t a/#/b: "), "{err}");
        assert_eq!(code, 2);
    }
}
