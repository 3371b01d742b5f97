//! Enhanced authentication of 5.0 (section 4.12): the hook for methods that talk with the client
//! over AUTH packets. Outpost brings none, so that the server answers 0x8C (Bad authentication
//! method) to every client that asks for one.

use std::any::Any;

use outpost_protocol::ReasonCode;

use super::Identity;

/// One method, such as SCRAM-SHA-256. It keeps no state of its own for a client: what it has to
/// remember between two AUTH packets goes with the connection.
pub trait AuthMethod: Send + Sync {
    /// The Authentication Method as clients name it; compared byte by byte.
    fn name(&self) -> &str;

    /// The client begins, in CONNECT or in an AUTH with 0x19 (Re-authenticate); `data` is its
    /// Authentication Data. What takes more than a millisecond must not be done here.
    fn start(&self, data: Option<&[u8]>) -> AuthStep;

    /// The client goes on, in an AUTH with 0x18 (Continue authentication); `state` is what the step
    /// before left.
    fn next(&self, state: AuthState, data: Option<&[u8]>) -> AuthStep;
}

/// What a method has to remember of one exchange.
pub struct AuthState(Box<dyn Any + Send>);

impl AuthState {
    /// Wraps what the method wants back.
    pub fn new<T: Any + Send>(state: T) -> Self {
        Self(Box::new(state))
    }

    /// What the method left; `None` if it was another type, which is a fault of the method.
    pub fn into_inner<T: Any + Send>(self) -> Option<T> {
        self.0.downcast().ok().map(|state| *state)
    }
}

/// What follows from a step of the client.
pub enum AuthStep {
    /// AUTH with 0x18 goes to the client with this data, and `next` is called with its answer and
    /// this state.
    Continue(Option<Vec<u8>>, AuthState),
    /// The client is who it says; CONNACK (or AUTH with 0x00) goes out with this data.
    Success(Identity, Option<Vec<u8>>),
    /// The client is turned away with this reason code, 0x80 or above.
    Failure(ReasonCode),
}

/// The methods that the server knows: none by default.
#[derive(Default)]
pub struct AuthMethods(Vec<Box<dyn AuthMethod>>);

impl AuthMethods {
    /// Adds a method. Of two with the same name the first stands.
    pub fn register(&mut self, method: Box<dyn AuthMethod>) {
        self.0.push(method);
    }

    /// The method of that name; `None` is to be answered with 0x8C (Bad authentication method)
    /// [MQTT-4.12.0-1].
    pub fn find(&self, name: &str) -> Option<&dyn AuthMethod> {
        self.0.iter().find(|method| method.name() == name).map(|method| &**method)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asks for the same word twice.
    struct Echo;

    impl AuthMethod for Echo {
        fn name(&self) -> &str {
            "echo"
        }

        fn start(&self, data: Option<&[u8]>) -> AuthStep {
            let word = data.unwrap_or_default().to_vec();
            AuthStep::Continue(Some(b"again".to_vec()), AuthState::new(word))
        }

        fn next(&self, state: AuthState, data: Option<&[u8]>) -> AuthStep {
            match state.into_inner::<Vec<u8>>() {
                Some(word) if Some(&word[..]) == data => {
                    AuthStep::Success(Identity { user_name: Some("echo".into()) }, None)
                }
                _ => AuthStep::Failure(ReasonCode::NotAuthorized),
            }
        }
    }

    fn exchange(first: &[u8], second: &[u8]) -> AuthStep {
        let mut methods = AuthMethods::default();
        methods.register(Box::new(Echo));
        let method = methods.find("echo").unwrap();
        let AuthStep::Continue(Some(data), state) = method.start(Some(first)) else {
            panic!("there is a second step")
        };
        assert_eq!(data, b"again");
        method.next(state, Some(second))
    }

    #[test]
    fn there_is_no_method_by_default_and_names_are_exact() {
        let mut methods = AuthMethods::default();
        assert!(methods.find("echo").is_none());
        methods.register(Box::new(Echo));
        assert!(methods.find("Echo").is_none() && methods.find("echo").is_some());
    }

    #[test]
    fn state_goes_from_step_to_step() {
        assert!(matches!(
            exchange(b"w", b"w"),
            AuthStep::Success(Identity { user_name: Some(name) }, None) if &*name == "echo"
        ));
        assert!(matches!(exchange(b"w", b"v"), AuthStep::Failure(ReasonCode::NotAuthorized)));
    }

    #[test]
    fn a_state_of_another_type_is_not_taken() {
        assert_eq!(AuthState::new(5_u8).into_inner::<String>(), None);
    }
}
