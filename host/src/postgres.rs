//! Addresses of PostgreSQL, `postgres://user:password@host:port/database?…`: what a client library would pass over.

/// What may stand behind the `?`. A library that does not know one goes on without it, and writes it with its value into the
/// log: a password too.
const PARAMETERS: [&str; 18] = [
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "statement-cache-capacity",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
];
/// Those of them that name a file.
const FILES: [&str; 7] = ["sslrootcert", "ssl-root-cert", "ssl-ca", "sslcert", "ssl-cert", "sslkey", "ssl-key"];

/// Finds what is wrong with an address, as far as that can be told without connecting.
///
/// # Errors
/// What it is, without anything of the address but the name of a parameter or a file: it may hold a password.
pub fn check_address(url: &str) -> Result<(), String> {
    let (address, query) = url.split_once('?').unwrap_or((url, ""));
    if !["postgres://", "postgresql://"].iter().any(|scheme| address.starts_with(scheme)) {
        return Err("is no address of a database: write it as postgres://user:password@host:5432/database".to_owned());
    }
    if query.contains('@') {
        return Err("has a `?` before its `@`: in a name or a password it is written %3F".to_owned());
    }
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        if !PARAMETERS.contains(&name) && !name.starts_with("options[") {
            // What is no name may be a part of a password.
            let is_name = name.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_".contains(letter));
            let name = if is_name { format!("`{name}`") } else { "that is none".to_owned() };
            return Err(format!("has a parameter {name} behind the `?` that is not known"));
        }
        // One that is encoded, or is a certificate itself, is for the library to read.
        if FILES.contains(&name) && !value.contains(['%', '+']) && !value.starts_with('-') {
            match crate::disk::read(value.as_ref()) {
                Ok(Some(_)) => {}
                Ok(None) => return Err(format!("names a file behind `{name}` that is not there: {value}")),
                Err(error) => return Err(format!("names a file behind `{name}`: {error}")),
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_library_would_pass_over_is_named_and_no_secret_is() {
        for right in [
            "postgres://user:secret@127.0.0.1:5432/database",
            "postgresql://user@host/database?sslmode=verify-full&options[work_mem]=64MB",
            "postgres:///database?host=/run/postgresql",
        ] {
            assert_eq!(check_address(right), Ok(()), "{right}");
        }
        for (wrong, said) in [
            ("mysql://user:secret@host/database", "is no address"),
            ("secret", "is no address"),
            ("postgres://user:is?secret=1@host/database", "%3F"),
            ("postgres://user@host/database?pwd=secret", "parameter `pwd`"),
            ("postgres://user@host/database?sslmode=require&secret:word", "that is none"),
            ("postgres://user@host/database?sslrootcert=/nowhere/ca.pem", "/nowhere/ca.pem"),
        ] {
            let problem = check_address(wrong).unwrap_err();
            assert!(problem.contains(said), "{wrong}: {problem}");
            assert!(!problem.contains("secret"), "{problem}");
        }
    }
}
