//! Whether JSON is as a schema says: the part of JSON Schema that Tipline's own schemas use.

use serde_json::Value;

/// What is wrong with a value by a schema; empty if nothing is. A name that the schema does not know
/// is wrong, too: readers may ignore it, and its writer may not forget it.
///
/// # Panics
/// When the schema has a keyword that is not known here.
pub fn schema_errors(schema: &Value, value: &Value) -> Vec<String> {
    let mut errors = Vec::new();
    Checker { whole: schema, errors: &mut errors }.check(schema, value, "");
    errors
}

/// Keywords that say nothing about a value.
const SILENT: [&str; 4] = ["$schema", "title", "description", "$defs"];

struct Checker<'a> {
    whole: &'a Value,
    errors: &'a mut Vec<String>,
}

impl Checker<'_> {
    fn check(&mut self, schema: &Value, value: &Value, at: &str) {
        let Some(rules) = schema.as_object() else { panic!("{schema} is no schema") };
        for (rule, what) in rules.iter().filter(|(rule, _)| !SILENT.contains(&rule.as_str())) {
            match rule.as_str() {
                "$ref" => self.check_named(what, value, at),
                "type" => self.check_type(what, value, at),
                "enum" => {
                    let is_one = what.as_array().is_some_and(|all| all.contains(value));
                    self.expect(is_one, at, || format!("{value} is none of {what}"));
                }
                "oneOf" => self.check_one_of(what, value, at),
                "minimum" => {
                    let is_less = value.as_f64() < what.as_f64() && value.is_number();
                    self.expect(!is_less, at, || format!("{value} is less than {what}"));
                }
                "required" => self.check_required(what, value, at),
                "properties" => self.check_properties(what, value, at),
                "items" => {
                    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                        self.check(what, item, &format!("{at}/{index}"));
                    }
                }
                unknown => panic!("the schema has {unknown:?}, which is not known here"),
            }
        }
    }

    fn expect(&mut self, holds: bool, at: &str, why: impl FnOnce() -> String) {
        if !holds {
            self.errors.push(format!("{at}: {}", why()));
        }
    }

    fn check_named(&mut self, name: &Value, value: &Value, at: &str) {
        let whole = self.whole;
        let path = name.as_str().and_then(|name| name.strip_prefix('#'));
        let Some(named) = path.and_then(|path| whole.pointer(path)) else {
            panic!("{name} is not in the schema")
        };
        self.check(named, value, at);
    }

    fn check_type(&mut self, types: &Value, value: &Value, at: &str) {
        let is = |name: &Value| match name.as_str() {
            Some("null") => value.is_null(),
            Some("boolean") => value.is_boolean(),
            Some("integer") => value.is_i64() || value.is_u64(),
            Some("number") => value.is_number(),
            Some("string") => value.is_string(),
            Some("array") => value.is_array(),
            Some("object") => value.is_object(),
            other => panic!("{other:?} is no type"),
        };
        let holds = types.as_array().map_or_else(|| is(types), |types| types.iter().any(is));
        self.expect(holds, at, || format!("{value} is no {types}"));
    }

    fn check_one_of(&mut self, schemas: &Value, value: &Value, at: &str) {
        let schemas = schemas.as_array().into_iter().flatten();
        let mut found: Vec<Vec<String>> = Vec::new();
        for schema in schemas {
            let mut errors = Vec::new();
            Checker { whole: self.whole, errors: &mut errors }.check(schema, value, at);
            found.push(errors);
        }
        let fitting = found.iter().filter(|errors| errors.is_empty()).count();
        self.expect(fitting == 1, at, || format!("{fitting} of the schemas fit: {found:?}"));
    }

    fn check_required(&mut self, names: &Value, value: &Value, at: &str) {
        let names = names.as_array().into_iter().flatten().filter_map(Value::as_str);
        for name in names {
            self.expect(value.get(name).is_some(), at, || format!("{name} is not there"));
        }
    }

    fn check_properties(&mut self, schemas: &Value, value: &Value, at: &str) {
        for (name, value) in value.as_object().into_iter().flatten() {
            match schemas.get(name) {
                Some(schema) => self.check(schema, value, &format!("{at}/{name}")),
                None => self.errors.push(format!("{at}: {name} is not in the schema")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::schema_errors;

    fn errors(value: &Value) -> Vec<String> {
        let schema = json!({
            "title": "x",
            "type": "object",
            "required": ["a"],
            "properties": {
                "a": { "$ref": "#/$defs/natural" },
                "b": { "type": "array", "items": { "enum": ["x", null] } },
                "c": { "oneOf": [{ "type": "null" }, { "$ref": "#/$defs/natural" }] }
            },
            "$defs": { "natural": { "type": ["integer"], "minimum": 0 } }
        });
        schema_errors(&schema, value)
    }

    #[test]
    fn what_is_as_the_schema_says_has_no_errors() {
        for good in [json!({"a": 0}), json!({"a": 1, "b": ["x", null, "x"], "c": null})] {
            assert_eq!(errors(&good), Vec::<String>::new(), "{good}");
        }
    }

    #[test]
    fn what_is_not_is_named_with_its_place() {
        let cases = [
            (json!([]), ": [] is no \"object\""),
            (json!({}), ": a is not there"),
            (json!({"a": -1}), "/a: -1 is less than 0"),
            (json!({"a": 1.5}), "/a: 1.5 is no [\"integer\"]"),
            (json!({"a": 1, "b": ["x", "y"]}), "/b/1: \"y\" is none of [\"x\",null]"),
            (json!({"a": 1, "c": "z"}), "/c: 0 of the schemas fit"),
            (json!({"a": 1, "d": 1}), ": d is not in the schema"),
        ];
        for (value, said) in cases {
            let found = errors(&value);
            assert!(found.iter().any(|error| error.starts_with(said)), "{value}: {found:?}");
        }
    }
}
