//! `-L mqtt://user:password@host:port/topic`.

use std::str::FromStr;

/// Server, credentials and topic in one word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Url {
    /// `mqtts`: over TLS.
    pub(super) is_tls: bool,
    pub(super) user_name: Option<String>,
    pub(super) password: Option<String>,
    /// A name or an address, without the brackets of IPv6.
    pub(super) host: String,
    pub(super) port: Option<u16>,
    /// As it stands in the URL: `%` is a character like any other in a topic.
    pub(super) topic: String,
}

impl FromStr for Url {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (is_tls, rest) = match text.split_once("://") {
            Some(("mqtt", rest)) => (false, rest),
            Some(("mqtts", rest)) => (true, rest),
            _ => return Err("must start with mqtt:// or mqtts://".into()),
        };
        let (server, topic) = rest.split_once('/').ok_or("has no /topic at its end")?;
        if topic.is_empty() {
            return Err("has no topic after the last /".into());
        }
        let (credentials, address) = match server.rsplit_once('@') {
            Some((credentials, address)) => (Some(credentials), address),
            None => (None, server),
        };
        let (user_name, password) = split_credentials(credentials)?;
        let (host, port) = split_address(address)?;
        Ok(Self { is_tls, user_name, password, host, port, topic: topic.to_owned() })
    }
}

fn split_credentials(text: Option<&str>) -> Result<(Option<String>, Option<String>), String> {
    let Some(text) = text else { return Ok((None, None)) };
    let (user_name, password) = match text.split_once(':') {
        Some((user_name, password)) => (user_name, Some(password)),
        None => (text, None),
    };
    let password = password.map(percent_decode).transpose()?;
    Ok((Some(percent_decode(user_name)?), password))
}

fn split_address(text: &str) -> Result<(String, Option<u16>), String> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']').ok_or("has a [ without a ]")?;
            match rest.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None if rest.is_empty() => (host, None),
                None => return Err("must have :port or / after the ]".into()),
            }
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    if host.is_empty() {
        return Err("has no host".into());
    }
    let port = port.map(|port| match port.parse() {
        Ok(0) | Err(_) => Err(format!("port {port:?} is not 1 to 65535")),
        Ok(port) => Ok(port),
    });
    Ok((host.to_owned(), port.transpose()?))
}

/// `%40` for `@` and so on. A `%` without two hexadecimal digits after it stands for itself.
fn percent_decode(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let code = after.get(..2).and_then(|digits| str::from_utf8(digits).ok());
        let code = code.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        match code.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) if first == b'%' => {
                bytes.push(byte);
                rest = &after[2..];
            }
            _ => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).map_err(|_| "has a %-sequence that is not UTF-8".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_parts() {
        let url: Url = "mqtts://ann:a%40b%3a%@hq.example:8884/a/b/#".parse().unwrap();
        let expected = Url {
            is_tls: true,
            user_name: Some("ann".into()),
            password: Some("a@b:%".into()),
            host: "hq.example".into(),
            port: Some(8884),
            topic: "a/b/#".into(),
        };
        assert_eq!(url, expected);
    }

    #[test]
    fn as_few_parts_as_can_be() {
        let url: Url = "mqtt://h/t%20".parse().unwrap();
        assert_eq!((url.is_tls, url.host.as_str(), url.port), (false, "h", None));
        assert_eq!((url.user_name, url.password, url.topic), (None, None, "t%20".into()));
    }

    #[test]
    fn addresses_of_ipv6_stand_in_brackets() {
        let url: Url = "mqtt://u@[::1]:7/t".parse().unwrap();
        assert_eq!(
            (url.host.as_str(), url.port, url.user_name.as_deref()),
            ("::1", Some(7), Some("u"))
        );
        let url: Url = "mqtt://[::1]/t".parse().unwrap();
        assert_eq!((url.host.as_str(), url.port), ("::1", None));
    }

    #[test]
    fn what_is_wrong_is_told() {
        for (url, error) in [
            ("http://h/t", "must start with mqtt:// or mqtts://"),
            ("h/t", "must start with mqtt:// or mqtts://"),
            ("mqtt://h", "has no /topic at its end"),
            ("mqtt://h/", "has no topic after the last /"),
            ("mqtt:///t", "has no host"),
            ("mqtt://u@:1/t", "has no host"),
            ("mqtt://h:0/t", "port \"0\" is not 1 to 65535"),
            ("mqtt://h:x/t", "port \"x\" is not 1 to 65535"),
            ("mqtt://[::1/t", "has a [ without a ]"),
            ("mqtt://[::1]1/t", "must have :port or / after the ]"),
            ("mqtt://%ff@h/t", "has a %-sequence that is not UTF-8"),
        ] {
            assert_eq!(url.parse::<Url>(), Err(error.to_owned()), "{url}");
        }
    }
}
