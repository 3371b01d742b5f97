//! What a configuration allows and its operator may not mean.

use outpost_bridge::config::BridgeConfig;
use outpost_bridge::loops;

use super::{Config, ListenAddress, Listener};

impl Config {
    /// What is right and yet unwise, one line each: doors that are open to the network, doors that
    /// nobody can pass, passwords in clear text, bridges whose messages go round or arrive twice.
    pub fn warnings(&self) -> Vec<String> {
        let has_users = self.auth.password_file.is_some();
        let listeners = self.listeners.iter().flat_map(|listener| of_listener(listener, has_users));
        let local = self.local.iter().filter(|local| {
            local.tls.is_none() && local.password.is_some() && is_far(&local.address)
        });
        listeners
            .chain(local.map(|_| in_clear("local", "password crosses")))
            .chain(self.bridges.iter().filter_map(of_bridge))
            .chain(loops::warnings(&self.bridges))
            .collect()
    }
}

fn of_listener(listener: &Listener, has_users: bool) -> Vec<String> {
    let Listener { address, allow_anonymous, tls } = listener;
    let reachable = !address.is_loopback();
    let by_certificate = tls.as_ref().is_some_and(|tls| tls.cn_as_user_name);
    let certified = tls.as_ref().is_some_and(|tls| tls.require_client_cert);
    let mut warnings = Vec::new();
    if reachable && *allow_anonymous && !certified {
        warnings.push("allow_anonymous = true lets everybody in who can reach this address");
    }
    if !allow_anonymous && !has_users && !by_certificate {
        warnings.push(
            "nobody can come in: allow_anonymous = false, and there is neither auth.password_file \
             nor tls.cn_as_user_name",
        );
    }
    if reachable && has_users && tls.is_none() {
        warnings.push("without tls passwords cross the network in clear text");
    }
    warnings.into_iter().map(|warning| format!("listener {address}: {warning}")).collect()
}

fn of_bridge(bridge: &BridgeConfig) -> Option<String> {
    let has_headers = bridge.websocket.as_ref().is_some_and(|ws| !ws.headers.is_empty());
    let what = match bridge.password {
        Some(_) => "password crosses",
        None => "headers cross",
    };
    let is_clear = bridge.tls.is_none() && (bridge.password.is_some() || has_headers);
    let is_clear = is_clear && is_far(&bridge.address);
    is_clear.then(|| in_clear(&format!("bridge {}", bridge.name), what))
}

fn is_far(address: &str) -> bool {
    address.parse().is_ok_and(|address: ListenAddress| !address.is_loopback())
}

fn in_clear(place: &str, what: &str) -> String {
    format!("{place}: without tls its {what} the network in clear text")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn warnings(text: &str) -> Vec<String> {
        Config::parse(Path::new("gateway.toml"), text).unwrap().warnings()
    }

    #[test]
    fn nothing_to_say_of_the_default() {
        assert_eq!(warnings(""), [""; 0]);
        assert_eq!(warnings("[auth]\npassword_file = \"p\"\n"), [""; 0]);
    }

    #[test]
    fn open_and_closed_doors() {
        assert_eq!(
            warnings("[[listener]]\naddress = \"0.0.0.0:1883\"\nallow_anonymous = true\n"),
            ["listener 0.0.0.0:1883: allow_anonymous = true lets everybody in who can reach this \
              address"]
        );
        assert_eq!(
            warnings("[[listener]]\naddress = \"0.0.0.0:1883\"\n"),
            ["listener 0.0.0.0:1883: nobody can come in: allow_anonymous = false, and there is \
              neither auth.password_file nor tls.cn_as_user_name"]
        );
        assert_eq!(
            warnings("[[listener]]\naddress = \"[::]:1883\"\n[auth]\npassword_file = \"p\"\n"),
            ["listener [::]:1883: without tls passwords cross the network in clear text"]
        );
    }

    #[test]
    fn certificates_close_doors_and_open_them() {
        let tls = |more: &str| {
            format!(
                "[[listener]]\naddress = \"[::]:8883\"\n{more}[listener.tls]\ncert_file = \"c\"\n\
                 key_file = \"k\"\nclient_ca_file = \"a\"\nrequire_client_cert = true\n"
            )
        };
        assert_eq!(warnings(&format!("{}cn_as_user_name = true\n", tls(""))), [""; 0]);
        assert_eq!(warnings(&tls("allow_anonymous = true\n")), [""; 0]);
    }

    #[test]
    fn bridges_that_send_messages_round() {
        let text = "[[bridge]]\nname = \"hq\"\naddress = \"hq.example:1883\"\nversion = \"3.1.1\"\n\
                    topic = [{ filter = \"t/#\", direction = \"both\" }]\n";
        let [warning] = &warnings(text)[..] else { panic!("one warning") };
        assert!(warning.starts_with("bridge hq: topic \"t/x\" goes round"), "{warning}");
        assert_eq!(warnings(&text.replace("3.1.1", "5")), [""; 0]);
    }

    #[test]
    fn bridges_with_a_password() {
        let bridge = |address: &str, more: &str| {
            format!(
                "[[bridge]]\nname = \"hq\"\naddress = \"{address}\"\nuser_name = \"g\"\n\
                 password = \"s3cret\"\n{more}topic = [{{ filter = \"#\", direction = \"out\" }}]\n"
            )
        };
        assert_eq!(
            warnings(&bridge("hq.example:1883", "")),
            ["bridge hq: without tls its password crosses the network in clear text"]
        );
        let headers = bridge("hq.example:80", "websocket = { headers = { X-Token = \"t\" } }\n");
        assert_eq!(
            warnings(&headers.replace("password", "# password")),
            ["bridge hq: without tls its headers cross the network in clear text"]
        );
        assert_eq!(warnings(&bridge("127.0.0.1:1884", "")), [""; 0]);
        assert_eq!(warnings(&bridge("hq.example:1883", "tls = { ca_file = \"a\" }\n")), [""; 0]);
    }
}
