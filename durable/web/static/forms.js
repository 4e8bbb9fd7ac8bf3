// Forms: made of a JSON schema where there is one, and of JSON where there is none.
import { useRef, useState } from "./vendor/preact.js";
import { Button, Field, html } from "./parts.js";

// Deeper than that a form is harder to read than JSON.
const DEPTH_MAX = 3;

export const check = (text) => {
  if (text.trim() === "") return { error: "say something; null is JSON for nothing" };
  try { return { value: JSON.parse(text) }; } catch (error) { return { error: error.message }; }
};

// JSON with line breaks; its values are not read, so that no large number changes.
export function indented(text) {
  if (check(text).error) return text;
  let depth = 0, out = "";
  const line = () => "\n" + "  ".repeat(depth);
  for (const [one] of text.matchAll(/"(?:\\.|[^"\\])*"|[[{]\s*[\]}]|[[\]{},:]|[^\s[\]{},:"]+/g)) {
    if (one === "[" || one === "{") { depth++; out += one + line(); }
    else if (one === "]" || one === "}") { depth--; out += line() + one; }
    else out += one === "," ? one + line() : one === ":" ? ": " : one.replace(/^([[{])\s+/, "$1");
  }
  return out;
}

// Text that is JSON, with what is wrong said below it. Its value is sent as it is written.
export function JsonEditor({ label, text, onText, hint, rows = 5 }) {
  const found = check(text);
  const tidy = () => onText(indented(text));
  return html`<${Field} label=${label} hint=${hint}><textarea class="mono" rows=${rows} spellcheck=${false} value=${text} aria-invalid=${!!found.error}
    onInput=${(event) => onText(event.target.value)}></textarea>
    <span class="under">${found.error ? html`<span class="bad-text">${found.error}</span>` : html`<span class="dim">JSON</span>`}
    <${Button} class="quiet" onClick=${tidy} disabled=${!!found.error}>tidy<//></span></${Field}>`;
}

const resolved = (schema, root) => {
  for (let turns = 0; schema?.$ref && turns < 10; turns++) schema = root.$defs?.[schema.$ref.split("/").pop()] || {};
  return schema || {};
};

const kindOf = (schema) => {
  if (schema.enum) return "enum";
  if (schema.anyOf) {
    const others = schema.anyOf.filter((one) => one.type !== "null");
    return others.length === 1 && others.length < schema.anyOf.length ? "optional" : "json";
  }
  if (schema.type === "object" && schema.properties) return "object";
  return { string: "string", integer: "number", number: "number", boolean: "boolean", null: "null" }[schema.type] || "json";
};

export function first(schema, root = schema, depth = 0) {
  schema = resolved(schema, root);
  if ("default" in schema) return schema.default;
  switch (kindOf(schema)) {
    case "enum": return schema.enum[0];
    case "string": return "";
    case "number": return 0;
    case "boolean": return false;
    case "object": {
      if (depth >= DEPTH_MAX) return {};
      const needed = schema.required || Object.keys(schema.properties);
      return Object.fromEntries(needed.map((name) => [name, first(schema.properties[name] || {}, root, depth + 1)]));
    }
    default: return schema.type === "array" ? [] : schema.type === "object" ? {} : null;
  }
}

// `onChange` gets (value, error): with an error the value does not count.
export function SchemaField({ label, schema, root = schema, value, onChange, depth = 0, hint }) {
  const [text, setText] = useState(() => JSON.stringify(value, null, 2));
  const [typed, setTyped] = useState(null);  // As typed: "1." and "-" are on their way to numbers.
  const errors = useRef({});
  const one = resolved(schema, root);
  const kind = depth > DEPTH_MAX ? "json" : kindOf(one);
  const about = hint || one.description;
  switch (kind) {
    case "enum":
      return html`<${Field} label=${label} hint=${about}><select onChange=${(event) => onChange(one.enum[event.target.selectedIndex], "")}>
        ${one.enum.map((each) => html`<option selected=${each === value}>${String(each)}</option>`)}</select></${Field}>`;
    case "string":
      return html`<${Field} label=${label} hint=${one.format ? `${about ? about + "; " : ""}${one.format}` : about}><input type="text" value=${value ?? ""} onInput=${(event) => onChange(event.target.value, "")} /></${Field}>`;
    case "number":
      return html`<${Field} label=${label} hint=${about}><input type="text" inputmode="decimal" value=${typed ?? value ?? ""} onInput=${(event) => {
        const next = event.target.value, number = Number(next), isWhole = one.type === "integer";
        setTyped(next);
        const isRight = next.trim() !== "" && (isWhole ? Number.isSafeInteger(number) : Number.isFinite(number));
        onChange(isRight ? number : value, isRight ? "" : `${label}: a ${isWhole ? "whole " : ""}number${Number.isInteger(number) ? "; one so large goes as JSON" : ""}`);
      }} /></${Field}>`;
    case "boolean":
      return html`<label class="check"><input type="checkbox" checked=${!!value} onChange=${(event) => onChange(event.target.checked, "")} /> ${label}</label>`;
    case "optional": {
      const inner = one.anyOf.find((each) => each.type !== "null");
      return html`<fieldset><label class="check"><input type="checkbox" checked=${value !== null} onChange=${(event) => onChange(event.target.checked ? first(inner, root) : null, "")} /> ${label} is given</label>
        ${value !== null && html`<${SchemaField} label=${label} schema=${inner} root=${root} value=${value} onChange=${onChange} depth=${depth + 1} />`}</fieldset>`;
    }
    case "object":
      return html`<fieldset><legend>${label}</legend>${Object.entries(one.properties).map(([name, each]) => html`<${SchemaField} key=${name} label=${name} schema=${each} root=${root}
        value=${value?.[name] ?? first(each, root)} depth=${depth + 1} onChange=${(next, error) => {
          errors.current[name] = error;
          onChange({ ...value, [name]: next }, Object.values(errors.current).find(Boolean) || "");
        }} />`)}</fieldset>`;
    case "null":
      return html`<p class="dim">${label}: nothing to say</p>`;
    default:
      return html`<${JsonEditor} label=${label} text=${text} hint=${about} onText=${(next) => {
        setText(next);
        const found = check(next);
        onChange(found.error ? value : found.value, found.error || "");
      }} />`;
  }
}

const isPlain = (schema) => !schema || Object.keys(schema).length === 0;

// A value: by its schema, or as JSON; `onChange` gets (JSON text, error).
export function ValueForm({ label, schema, text, onChange, isPart }) {
  const root = schema || {};
  const [asJson, setJson] = useState(isPlain(schema));
  const [value, setValue] = useState(() => { const found = check(text); return found.error ? first(root) : found.value; });
  const change = (next, error) => { setValue(next); onChange(JSON.stringify(next), error); };
  return html`<div>${!isPart && !isPlain(schema) && html`<div class="under right"><${Button} class="quiet" onClick=${() => setJson(!asJson)}>${asJson ? "as a form" : "as JSON"}<//></div>`}
    ${asJson ? html`<${JsonEditor} label=${label} text=${text} onText=${(next) => onChange(next, check(next).error || "")} />`
      : html`<${SchemaField} label=${label} schema=${root} value=${value} onChange=${change} />`}</div>`;
}
