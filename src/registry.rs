//! The client of a schema registry that speaks Confluent's protocol: Confluent's own, Karapace,
//! Apicurio, Redpanda's.
//!
//! Whoever asks waits for the answer, on the thread of the task; it is asked once per schema, and what
//! it said is kept for the process.

use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::anyhow;
use futures_util::future::BoxFuture;
use http::{Extensions, StatusCode};
use reqwest::{Client, Request, Response};
use reqwest_middleware::Next;
use schema_registry_converter::async_impl::schema_registry::{SrSettings, perform_sr_call};
use schema_registry_converter::error::SRCError;
use schema_registry_converter::schema_registry_common::{
    RawError, RawRegisteredSchema, RegisteredReference, SrCall,
};
use serde_json::{Value as Json, json};
use tokio::runtime::Handle;

use crate::format::{RegisteredSchema, Registries, RegistryError, Schema, SchemaRegistry};

/// A request that takes longer is given up: meanwhile the thread does nothing else.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Schemas name others, which name others: at most so deep.
const MAX_DEPTH: u32 = 16;

/// How to prove who we are.
#[derive(Clone, PartialEq, Eq)]
pub enum RegistryAuth {
    /// User and password.
    Basic(String, String),
    /// A bearer token.
    Bearer(String),
}

/// Nothing of it is shown.
impl fmt::Debug for RegistryAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RegistryAuth")
    }
}

/// Finds registries by their addresses, over HTTP.
pub struct HttpRegistries {
    tokio: Handle,
    auth: Option<RegistryAuth>,
    open: Mutex<HashMap<String, Arc<HttpRegistry>>>,
}

struct HttpRegistry {
    url: String,
    settings: SrSettings,
    tokio: Handle,
    schemas: Mutex<HashMap<u32, Arc<RegisteredSchema>>>,
}

/// No request has been answered as it should have been.
enum Failure {
    Away(String),
    /// It does not have what was asked for.
    NotFound(String),
    Refused(String),
}

impl HttpRegistries {
    /// Registries that are asked on this runtime, from outside of it.
    pub fn new(tokio: Handle, auth: Option<RegistryAuth>) -> HttpRegistries {
        HttpRegistries {
            tokio,
            auth,
            open: Mutex::default(),
        }
    }

    fn settings(&self, url: &str) -> Result<SrSettings, SRCError> {
        let client = Client::builder().user_agent(concat!("tidemill/", env!("CARGO_PKG_VERSION")));
        let mut settings = SrSettings::new_builder(url.to_owned());
        settings.set_timeout(TIMEOUT).with_middleware(busy_is_away);
        match &self.auth {
            None => {}
            Some(RegistryAuth::Basic(user, password)) => {
                settings.set_basic_authorization(user, Some(password));
            }
            Some(RegistryAuth::Bearer(token)) => {
                settings.set_token_authorization(token);
            }
        }
        settings.build_with(client)
    }
}

impl Registries for HttpRegistries {
    fn open(&self, url: &str) -> Result<Arc<dyn SchemaRegistry>, RegistryError> {
        let url = url.trim_end_matches('/');
        let mut open = lock(&self.open);
        if let Some(registry) = open.get(url) {
            return Ok(Arc::clone(registry) as Arc<dyn SchemaRegistry>);
        }
        let settings = self.settings(url).map_err(|error| RegistryError::Refused {
            url: url.to_owned(),
            reason: innermost(&error),
        })?;
        let registry = Arc::new(HttpRegistry {
            url: url.to_owned(),
            settings,
            tokio: self.tokio.clone(),
            schemas: Mutex::default(),
        });
        open.insert(url.to_owned(), Arc::clone(&registry));
        Ok(registry)
    }
}

impl SchemaRegistry for HttpRegistry {
    fn schema(&self, id: u32) -> Result<Arc<RegisteredSchema>, RegistryError> {
        if let Some(known) = lock(&self.schemas).get(&id) {
            return Ok(Arc::clone(known));
        }
        match self.ask(SrCall::GetById(id)) {
            Ok(answer) => self.keep(id, answer),
            Err(Failure::NotFound(_)) => Err(RegistryError::Unknown { id }),
            Err(failure) => Err(self.error(failure)),
        }
    }

    fn latest(&self, subject: &str) -> Result<(u32, Arc<RegisteredSchema>), RegistryError> {
        let answer = self.ask(SrCall::GetLatest(&escaped(subject)));
        let answer = answer.map_err(|failure| self.error(failure))?;
        let id = self.id(&answer)?;
        Ok((id, self.keep(id, answer)?))
    }

    fn register(&self, subject: &str, schema: &Schema) -> Result<u32, RegistryError> {
        self.post(SrCall::PostNew(&escaped(subject), &body(schema)))
    }

    fn find(&self, subject: &str, schema: &Schema) -> Result<u32, RegistryError> {
        self.post(SrCall::PostForVersion(&escaped(subject), &body(schema)))
    }
}

impl HttpRegistry {
    /// Remembers a schema, with all that it names.
    fn keep(
        &self,
        id: u32,
        answer: RawRegisteredSchema,
    ) -> Result<Arc<RegisteredSchema>, RegistryError> {
        let mut references = Vec::new();
        self.collect(
            answer.references.as_deref().unwrap_or_default(),
            MAX_DEPTH,
            &mut references,
        )?;
        let schema = Arc::new(RegisteredSchema {
            text: self.text(&answer)?.to_owned(),
            language: answer.schema_type.unwrap_or_else(|| "AVRO".to_owned()),
            references,
        });
        lock(&self.schemas).insert(id, Arc::clone(&schema));
        Ok(schema)
    }

    /// The schemas that a schema names, each after those that it names itself.
    fn collect(
        &self,
        references: &[RegisteredReference],
        depth: u32,
        found: &mut Vec<(String, String)>,
    ) -> Result<(), RegistryError> {
        for reference in references {
            if found.iter().any(|(name, _)| *name == reference.name) {
                continue;
            }
            if depth == 0 {
                return Err(
                    self.refused(format!("schemas name each other deeper than {MAX_DEPTH}"))
                );
            }
            let subject = escaped(&reference.subject);
            let answer = self.ask(SrCall::GetBySubjectAndVersion(&subject, reference.version));
            let answer = answer.map_err(|failure| self.error(failure))?;
            let own = answer.references.as_deref().unwrap_or_default();
            self.collect(own, depth - 1, found)?;
            found.push((reference.name.clone(), self.text(&answer)?.to_owned()));
        }
        Ok(())
    }

    fn post(&self, call: SrCall<'_>) -> Result<u32, RegistryError> {
        let answer = self.ask(call).map_err(|failure| self.error(failure))?;
        self.id(&answer)
    }

    fn ask(&self, call: SrCall<'_>) -> Result<RawRegisteredSchema, Failure> {
        let answer = self.tokio.block_on(perform_sr_call(&self.settings, call));
        answer.map_err(|error| judge(&error))
    }

    fn id(&self, answer: &RawRegisteredSchema) -> Result<u32, RegistryError> {
        let id = answer.id;
        id.ok_or_else(|| self.refused("the answer has no id".to_owned()))
    }

    fn text<'a>(&self, answer: &'a RawRegisteredSchema) -> Result<&'a str, RegistryError> {
        let text = answer.schema.as_deref();
        text.ok_or_else(|| self.refused("the answer has no schema".to_owned()))
    }

    fn refused(&self, reason: String) -> RegistryError {
        self.error(Failure::Refused(reason))
    }

    fn error(&self, failure: Failure) -> RegistryError {
        let url = self.url.clone();
        match failure {
            Failure::Away(reason) => RegistryError::Away { url, reason },
            Failure::NotFound(reason) | Failure::Refused(reason) => {
                RegistryError::Refused { url, reason }
            }
        }
    }
}

/// A schema as it is sent.
fn body(schema: &Schema) -> String {
    let mut body = json!({ "schema": schema.text() });
    let language = schema.language().registry_word();
    if language != "AVRO" {
        body["schemaType"] = Json::from(language);
    }
    body.to_string()
}

/// Makes an error of an answer that says only that there is none now.
fn busy_is_away<'a>(
    request: Request,
    extensions: &'a mut Extensions,
    next: Next<'a>,
) -> BoxFuture<'a, reqwest_middleware::Result<Response>> {
    Box::pin(async move {
        let response = next.run(request, extensions).await?;
        match response.status() {
            status @ (StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS) => {
                Err(anyhow!("HTTP status {status}").into())
            }
            status if status.is_server_error() => Err(anyhow!("HTTP status {status}").into()),
            _ => Ok(response),
        }
    })
}

/// What an error means. That something is not there is believed only if a registry says so: behind a
/// wrong address there may be any other server.
fn judge(error: &SRCError) -> Failure {
    if error.retriable {
        return Failure::Away(innermost(error));
    }
    let refusal = error
        .source()
        .and_then(<dyn Error>::downcast_ref::<RawError>);
    match refusal {
        // It is none that a registry has written.
        Some(RawError { error_code: 0, .. }) => Failure::Refused(error.error.clone()),
        Some(RawError {
            error_code,
            message,
            ..
        }) => {
            let reason = format!("{message} (error {error_code})");
            match *error_code == 404 || error_code / 100 == 404 {
                true => Failure::NotFound(reason),
                false => Failure::Refused(reason),
            }
        }
        None => Failure::Refused(format!(
            "the answer is not that of a schema registry: {}",
            innermost(error)
        )),
    }
}

/// What caused an error in the end: the outermost says only that something went wrong.
fn innermost(error: &dyn Error) -> String {
    let mut innermost = error;
    while let Some(cause) = innermost.source() {
        innermost = cause;
    }
    innermost.to_string()
}

/// A subject as a part of a path.
fn escaped(subject: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let mut escaped = String::with_capacity(subject.len());
    for byte in subject.bytes() {
        match is_plain(byte) {
            true => escaped.push(byte.into()),
            false => escaped += &format!("%{byte:02X}"),
        }
    }
    escaped
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing is left half done in there.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asks a server that gives this answer, whatever it is asked.
    #[track_caller]
    fn check(status: u16, body: &'static str, expected: &str) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let status = StatusCode::from_u16(status).unwrap();
        let app = axum::Router::new().fallback(move || async move { (status, body) });
        let url = serve(&runtime, app);
        let registries = HttpRegistries::new(runtime.handle().clone(), None);
        let found = match registries.open(&url).unwrap().schema(7) {
            Ok(schema) => format!("schema {}", schema.text),
            Err(error) => error.to_string().replace(url.trim_end_matches('/'), "r"),
        };
        assert_eq!(found, expected, "{status} {body}");
    }

    fn serve(runtime: &tokio::runtime::Runtime, app: axum::Router) -> String {
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
            .unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        runtime.spawn(async { axum::serve(listener, app).await });
        url
    }

    #[test]
    fn only_a_registry_is_believed_that_something_is_not_there() {
        let not_found = r#"{"error_code": 40403, "message": "Schema not found"}"#;
        check(200, r#"{"schema": "x", "more": 1}"#, "schema x");
        check(404, not_found, "the schema registry has no schema 7");
        check(
            404,
            "<html>",
            "the schema registry r refuses: HTTP request to schema registry failed with status 404 \
             Not Found",
        );
        let away = |status| format!("the schema registry r is away: HTTP status {status}");
        check(500, not_found, &away("500 Internal Server Error"));
        check(503, "", &away("503 Service Unavailable"));
        check(429, "", &away("429 Too Many Requests"));
        let unauthorized = r#"{"error_code": 401, "message": "who are you"}"#;
        check(
            401,
            unauthorized,
            "the schema registry r refuses: who are you (error 401)",
        );
        let no_registry = "the schema registry r refuses: the answer is not that of a schema \
                           registry: expected value at line 1 column 1";
        check(200, "<html>", no_registry);
        check(
            200,
            "{}",
            "the schema registry r refuses: the answer has no schema",
        );
    }

    /// A schema, or what there is instead, by path.
    async fn answer(uri: axum::http::Uri) -> Result<String, (StatusCode, String)> {
        let schema = |text: &str, references: Json| json!({ "schema": text, "schemaType": "PROTOBUF", "references": references, "id": 7 });
        let refer = |name: &str| json!([{ "name": name, "subject": name, "version": 2 }]);
        match uri.path() {
            "/schemas/ids/7" => Ok(schema("a", refer("b.proto")).to_string()),
            "/subjects/b.proto/versions/2" => Ok(schema("b", refer("c.proto")).to_string()),
            "/subjects/c.proto/versions/2" => Ok(schema("c", json!([])).to_string()),
            _ => {
                let body = json!({ "error_code": 40403, "message": "no" });
                Err((StatusCode::NOT_FOUND, body.to_string()))
            }
        }
    }

    #[test]
    fn a_schema_comes_with_those_that_it_names_and_is_asked_for_once() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let registries = HttpRegistries::new(runtime.handle().clone(), None);
        let serving = tokio::runtime::Runtime::new().unwrap();
        let url = serve(&serving, axum::Router::new().fallback(answer));
        let registry = registries.open(&url).unwrap();
        let schema = registry.schema(7).unwrap();
        let own = |name: &str, text: &str| (name.to_owned(), text.to_owned());
        let expected = RegisteredSchema {
            language: "PROTOBUF".to_owned(),
            text: "a".to_owned(),
            references: vec![own("c.proto", "c"), own("b.proto", "b")],
        };
        assert_eq!(*schema, expected);
        assert_eq!(registry.schema(8), Err(RegistryError::Unknown { id: 8 }));
        // Nobody is there any more, not even on connections that are open; what is known is known.
        drop(serving);
        assert_eq!(*registries.open(&url).unwrap().schema(7).unwrap(), expected);
        let away = registry.schema(9).unwrap_err();
        assert!(matches!(away, RegistryError::Away { .. }), "{away}");
    }

    #[test]
    fn a_subject_is_one_part_of_a_path() {
        assert_eq!(escaped("a-b.c_d-value"), "a-b.c_d-value");
        assert_eq!(escaped("a/b ü"), "a%2Fb%20%C3%BC");
    }
}
