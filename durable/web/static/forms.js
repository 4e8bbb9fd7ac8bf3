// Forms: made of a JSON schema where there is one, and of JSON where there is none.
import { useRef, useState } from "./vendor/preact.js";
import { Exact, parse } from "./live.js";
import { Button, Field, html } from "./parts.js";

// Deeper than that a form is harder to read than JSON.
const DEPTH_MAX = 3;

export const check = (text) => {
	if (text.trim() === "") return { error: "say something; null is JSON for nothing" };
	try { return { value: parse(text) }; } catch (error) { return { error: error.message }; }
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
			if (depth > DEPTH_MAX) return {};
			return Object.fromEntries((schema.required || []).map((name) => [name, first(schema.properties[name] || {}, root, depth + 1)]));
		}
		default: return schema.type === "array" ? [] : schema.type === "object" ? {} : null;
	}
}

// Whether a form can show a value, whole.
function fits(schema, value, root = schema) {
	const one = resolved(schema, root);
	switch (kindOf(one)) {
		case "enum": return one.enum.includes(value);
		case "string": return typeof value === "string";
		case "number": return typeof value === "number" || value instanceof Exact;
		case "boolean": return typeof value === "boolean";
		case "null": return value === null;
		case "optional": return value === null || fits(one.anyOf.find((each) => each.type !== "null"), value, root);
		case "object": return value !== null && typeof value === "object" && !Array.isArray(value) && Object.entries(value).every(([name, each]) => name in one.properties && fits(one.properties[name], each, root));
		default: return true;
	}
}

// `onChange` gets (value, error): with an error the value does not count.
export function SchemaField({ label, schema, root = schema, value, onChange, depth = 0, hint }) {
	const [text, setText] = useState(() => JSON.stringify(value, null, 2));
	const [typed, setTyped] = useState(null);  // As typed: "1." and "-" are on their way to numbers.
	const errors = useRef({});
	const one = resolved(schema, root);
	const of = kindOf(one);
	const kind = depth > DEPTH_MAX && (of === "object" || of === "optional") ? "json" : of;
	const about = hint || one.description;
	switch (kind) {
		case "enum":
			return html`<${Field} label=${label} hint=${about}><select onChange=${(event) => onChange(one.enum[event.target.selectedIndex], "")}>
				${one.enum.map((each) => html`<option selected=${each === value}>${String(each)}</option>`)}</select></${Field}>`;
		case "string":
			return html`<${Field} label=${label} hint=${one.format ? `${about ? about + "; " : ""}${one.format}` : about}><input type="text" value=${value ?? ""} onInput=${(event) => onChange(event.target.value, "")} /></${Field}>`;
		case "number":
			return html`<${Field} label=${label} hint=${about}><input type="text" inputmode="decimal" value=${typed ?? String(value ?? "")} onInput=${(event) => {
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
			// What is not in it is not sent: the code has its own default.
			return html`<fieldset><legend>${label}</legend>${Object.entries(one.properties).map(([name, each]) => !(name in value) ? html`<p key=${name}><${Button} class="quiet" onClick=${() => onChange({ ...value, [name]: first(each, root) }, "")}>+ ${name}<//> <span class="dim mono">${JSON.stringify(each.default)}</span></p>` : html`<${SchemaField} key=${name} label=${name} schema=${each} root=${root}
				value=${value[name]} depth=${depth + 1} onChange=${(next, error) => {
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
	const found = check(text);
	const can = !isPlain(schema) && !found.error && fits(root, found.value);
	const [wanted, setJson] = useState(false);
	const asJson = wanted || !can;  // The text is what is sent: a form shows it whole, or not at all.
	const change = (next, error) => onChange(JSON.stringify(next), error);
	return html`<div>${!isPart && !isPlain(schema) && html`<div class="under right"><${Button} class="quiet" disabled=${!can} onClick=${() => { setJson(!asJson); onChange(text, ""); }}>${asJson ? "as a form" : "as JSON"}<//></div>`}
		${asJson ? html`<${JsonEditor} label=${label} text=${text} onText=${(next) => { setJson(true); onChange(next, check(next).error || ""); }} />`
			: html`<${SchemaField} label=${label} schema=${root} value=${found.value} onChange=${change} />`}</div>`;
}
