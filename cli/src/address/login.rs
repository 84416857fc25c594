//! Logins in addresses.

/// Whether an address of a server has a login in it: `http://USER:PASSWORD@HOST/`.
pub(crate) fn has_login(address: &str) -> bool {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    rest.split(['/', '?', '#']).next().is_some_and(|authority| authority.contains('@'))
}

#[cfg(test)]
mod tests {
    use super::has_login;

    #[test]
    fn what_is_before_the_at_sign_of_a_host_is_a_login() {
        for address in ["http://u:p@h:1/x", "https://token@h", "u:p@h:8222", "http://u:p@h?x"] {
            assert!(has_login(address), "{address}");
        }
        for address in ["http://h:4317", "http://h/a:b@c", "https://h:1/v1@2", "h:8222", ""] {
            assert!(!has_login(address), "{address}");
        }
    }
}
