//! A leg as a request: what the client sent, with the headers of the leg and with transaction ids that the target
//! knows.

use super::aliases::{self, Aliases};
use super::exchanges::{Exchange, ExchangeId, Leg};
use crate::json::{Found, Object, quoted};
use crate::planted::{Mistake, planted};
use wire::exchange::Header;
use wire::ids::ExchangeNumber;
use wire::leg::{self, AuthorityRefusal};
use wire::scalar::{Body, Timestamp};
use wire::words::{Class, Mode, Operation, System};

/// Servers take heads of about 400 KiB at most (hyper's default); a refusal that echoes more than this is cut.
const MAX_REFUSAL_BYTES: usize = 128 * 1024;

/// A request of the relay to a shadow system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LegRequest {
    /// The exchange.
    pub id: ExchangeId,
    /// The same, for people.
    pub number: ExchangeNumber,
    /// Which offer this is.
    pub attempt: u32,
    /// Where it goes.
    pub target: System,
    /// The name of the route.
    pub route: String,
    /// The HTTP method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// All headers but the credentials.
    pub headers: Vec<Header>,
    /// The body.
    pub body: Vec<u8>,
    /// After which it is not to be sent any more on the ground of its announcement.
    pub sent_by: Option<Timestamp>,
}

/// The request of an exchange's leg, to be sent by a time if there is one; `pointers` are where bodies refer to earlier
/// transactions.
pub(crate) fn leg_request(
    id: ExchangeId,
    exchange: &Exchange,
    leg: &Leg,
    known: &Aliases,
    pointers: &[String],
    sent_by: Option<Timestamp>,
) -> LegRequest {
    let intent = &exchange.intent;
    let mut headers = intent.headers.clone();
    headers.push((leg::EXCHANGE.to_owned(), exchange.number.to_string()));
    headers.push((leg::MODE.to_owned(), leg.mode.to_string()));
    if let Some(decided) = &exchange.decided {
        if let Some(id) = decided.transaction_by(intent.authority) {
            headers.push((leg::ALIAS.to_owned(), id.to_owned()));
        }
        // What is left of an original depends on the order of decisions, which may be another one at the target. A
        // legacy knows no such header; its legs go in the engine's own order.
        if (intent.operation, leg.target, decided.class) == (Operation::Refund, System::Engine, Class::Applied)
            && let Some(amount) = &decided.reading.amount
        {
            headers.push((leg::AMOUNT.to_owned(), amount.clone()));
        }
        if leg.mode == Mode::ShadowRefused {
            headers.push((leg::REFUSAL.to_owned(), refusal(decided.status, &decided.body)));
        }
    }
    let body = match intent.original {
        Some(_) => rewritten(&intent.body.0, leg.target, known, pointers),
        None => None,
    };
    LegRequest {
        id,
        number: exchange.number.clone(),
        attempt: leg.attempt,
        target: leg.target,
        route: intent.route.clone(),
        method: intent.method.clone(),
        path: intent.path.clone(),
        headers,
        body: body.unwrap_or_else(|| intent.body.0.clone()),
        sent_by,
    }
}

/// The body with transaction ids that the other system made replaced by the target's own; `None` when nothing is
/// to be replaced.
fn rewritten(body: &[u8], target: System, known: &Aliases, pointers: &[String]) -> Option<Vec<u8>> {
    let mut changed: Option<Vec<u8>> = None;
    for pointer in pointers {
        let text = changed.as_deref().unwrap_or(body);
        let object = Object::parse(text)?;
        let Some(id) = object.text_at(pointer) else { continue };
        if aliases::maker(&id) == target {
            continue;
        }
        let at = if planted(Mistake::AliasOfTheOtherSystem) { target.other() } else { target };
        let (Some(own), Found::At(place)) = (known.at(at, &id), object.find(pointer)) else { continue };
        changed = Some(object.with_value(&place, &quoted(&own)));
    }
    changed
}

fn refusal(status: u16, body: &Body) -> String {
    let cut;
    let mut bytes = &body.0;
    if bytes.len() > MAX_REFUSAL_BYTES {
        cut = without_metadata(bytes);
        bytes = &cut;
    }
    AuthorityRefusal { status, body: Body(bytes.clone()) }.to_string()
}

/// A refusal without the client's data that it echoes: the only part of one that can be long.
fn without_metadata(body: &[u8]) -> Vec<u8> {
    let mut document = serde_json::from_slice::<serde_json::Value>(body).unwrap_or_default();
    if let Some(result) = document.get_mut("result").and_then(serde_json::Value::as_object_mut) {
        result.remove("metadata");
    }
    document.to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::super::tests::given;
    use super::*;

    const ENGINE: &str = "cf00aabb-1234-8abc-8def-0123456789ab";
    const LEGACY: &str = "L-17";

    fn header<'a>(request: &'a LegRequest, name: &str) -> Option<&'a str> {
        request.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn request(authority: System, mode: Mode, class: Class, status: u16, answer: &str) -> LegRequest {
        request_of(Operation::Topup, authority, mode, class, status, answer)
    }

    fn request_of(
        operation: Operation,
        authority: System,
        mode: Mode,
        class: Class,
        status: u16,
        answer: &str,
    ) -> LegRequest {
        let exchange = given::decided(authority, operation, class, status, answer);
        let leg = given::leg(&exchange, mode);
        leg_request(ExchangeId(4), &exchange, &leg, &Aliases::default(), &[], None)
    }

    #[test]
    fn the_leg_of_a_refund_says_what_the_authority_took() {
        let answer = r#"{"transactionId":"L-17","amount":"621.45136975"}"#;
        let taken = |operation, authority, mode, class, status| {
            let leg = request_of(operation, authority, mode, class, status, answer);
            header(&leg, leg::AMOUNT).map(str::to_owned)
        };
        let (refund, applied) = (Operation::Refund, Class::Applied);
        assert_eq!(taken(refund, System::Legacy, Mode::Shadow, applied, 200).as_deref(), Some("621.45136975"));
        assert_eq!(taken(refund, System::Legacy, Mode::Forced, applied, 200).as_deref(), Some("621.45136975"));
        assert_eq!(taken(refund, System::Legacy, Mode::ShadowRefused, Class::Refused, 422), None);
        assert_eq!(taken(refund, System::Engine, Mode::Shadow, applied, 200), None);
        assert_eq!(taken(Operation::Topup, System::Legacy, Mode::Shadow, applied, 200), None);
    }

    #[test]
    fn a_leg_says_what_it_is() {
        let leg = request(System::Legacy, Mode::Shadow, Class::Applied, 200, r#"{"transactionId":"L-17"}"#);
        assert_eq!(header(&leg, leg::EXCHANGE), Some("front-a.1.1"));
        assert_eq!(header(&leg, leg::MODE), Some("shadow"));
        assert_eq!(header(&leg, leg::ALIAS), Some("L-17"));
        assert_eq!(header(&leg, leg::REFUSAL), None);
        assert_eq!(header(&leg, "idempotency-key"), Some("key"), "recorded headers go along");
        assert_eq!(leg.target, System::Engine);
    }

    #[test]
    fn a_dry_leg_carries_the_refusal() {
        let body = r#"{"code":"InsufficientBalance","result":{"transactionId":"L-18"}}"#;
        let leg = request(System::Legacy, Mode::ShadowRefused, Class::Refused, 422, body);
        let refusal = header(&leg, leg::REFUSAL).expect("it was refused");
        let refusal: AuthorityRefusal = refusal.parse().expect("it is a refusal");
        assert_eq!((refusal.status, refusal.body.0), (422, body.as_bytes().to_vec()));
        assert_eq!(header(&leg, leg::ALIAS), Some("L-18"));
    }

    #[test]
    fn a_refusal_too_long_for_a_header_loses_the_clients_data() {
        let data = "x".repeat(MAX_REFUSAL_BYTES);
        let body =
            format!(r#"{{"code":"SameAccount","result":{{"transactionId":"L-1","metadata":{{"a":"{data}"}}}}}}"#);
        let leg = request(System::Legacy, Mode::ShadowRefused, Class::Refused, 422, &body);
        let refusal = header(&leg, leg::REFUSAL).expect("it was refused");
        let refusal: AuthorityRefusal = refusal.parse().expect("it is a refusal");
        assert_eq!(refusal.body.0, br#"{"code":"SameAccount","result":{"transactionId":"L-1"}}"#);
    }

    #[test]
    fn ids_of_the_other_system_are_replaced() {
        let mut known = Aliases::default();
        known.made(ENGINE, Operation::Transfer, "a".into(), "b".into());
        known.link(ENGINE, LEGACY);
        let pointers = ["/transactionId".to_owned()];
        for (target, before, after) in [
            (System::Legacy, ENGINE, LEGACY),
            (System::Legacy, LEGACY, LEGACY),
            (System::Engine, LEGACY, ENGINE),
            (System::Engine, ENGINE, ENGINE),
            (System::Engine, "L-99", "L-99"),
        ] {
            let body = |id: &str| format!(r#"{{ "transactionId" : "{id}", "amount": "1.10" }}"#);
            let given = body(before).into_bytes();
            let sent = rewritten(&given, target, &known, &pointers).unwrap_or(given);
            assert_eq!(String::from_utf8(sent), Ok(body(after)), "{before} to {target}");
        }
    }
}
