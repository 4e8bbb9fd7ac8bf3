// Start: a form of the workflow's parameters where its code is here, JSON where it is not.
import { useEffect, useState } from "./vendor/preact.js";
import { at, get, getText, post, useLook, useMeta } from "./live.js";
import { Button, Empty, Failure, Field, Loading, go, html, route, say } from "./parts.js";
import { JsonEditor, ValueForm, check, first, indented } from "./forms.js";
import { payloadOf } from "./payload.js";

function Parameters({ form, given, onGiven }) {
	return html`${form.parameters.length === 0 && html`<p class="dim">It takes no arguments.</p>`}${form.parameters.map((one) => {
		const state = given[one.name] || { text: JSON.stringify(one.kind === "many" ? [] : one.kind === "named" ? {} : one.is_required ? first(one.schema) : one.default), error: "", is: one.is_required };
		const change = (text, error) => onGiven({ ...given, [one.name]: { text, error, is: true } });
		if (!one.is_required && !state.is) return html`<p key=${one.name}><${Button} class="quiet" onClick=${() => onGiven({ ...given, [one.name]: { ...state, is: true } })}>+ ${one.name}<//> <span class="dim mono">${["many", "named"].includes(one.kind) ? one.kind : JSON.stringify(one.default)}</span></p>`;
		return html`<div key=${one.name} class="parameter"><${ValueForm} isPart label=${one.name} schema=${["many", "named"].includes(one.kind) ? {} : one.schema} text=${state.text} onChange=${change} /></div>`;
	})}`;
}

// The arguments as JSON text: by name where that is possible, else in order, with what stands before them.
function argumentsOf(form, given) {
	const said = (one) => (given[one.name]?.is ? given[one.name].text : one.is_required ? JSON.stringify(first(one.schema)) : null);
	const of = (kind) => form.parameters.find((one) => one.kind === kind);
	const rest = check(of("many") && said(of("many")) || "[]").value || [];
	const inOrder = form.parameters.filter((one) => one.kind === "positional" || (one.kind === "one" && rest.length));
	const last = rest.length ? inOrder.length : inOrder.findLastIndex((one) => said(one) != null) + 1;
	const args = [...inOrder.slice(0, last).map((one) => said(one) ?? JSON.stringify(one.default)), ...rest.map((one) => JSON.stringify(one))];
	const pairs = form.parameters.filter((one) => !inOrder.includes(one) && ["one", "keyword"].includes(one.kind) && said(one) != null).map((one) => [one.name, said(one)]);
	for (const [name, value] of Object.entries(check(of("named") && said(of("named")) || "{}").value || {})) pairs.push([name, JSON.stringify(value)]);
	return `"args": [${args.join(", ")}], "kwargs": {${pairs.map(([name, text]) => `${JSON.stringify(name)}: ${text}`).join(", ")}}`;
}

// What the form shows of arguments that are JSON, or null if it cannot show them.
function givenOf(form, { args = [], kwargs = {} }) {
	const found = {}, others = { ...kwargs };
	const put = (one, value) => { found[one.name] = { text: JSON.stringify(value), error: "", is: true }; };
	const left = [...args];
	for (const one of form.parameters) {
		if (["one", "positional"].includes(one.kind) && left.length) put(one, left.shift());
		else if (one.kind === "many" && left.length) put(one, left.splice(0));
		else if (one.kind === "named" && Object.keys(others).length) { put(one, { ...others }); for (const name in others) delete others[name]; }
		else if (one.name in others) { put(one, others[one.name]); delete others[one.name]; }
		else if (one.is_required) return null;
	}
	return left.length || Object.keys(others).length ? null : found;
}

// {args, kwargs} of a text, or what is wrong with it.
function callOf(text) {
	const { error, value } = check(text);
	const isCall = value && typeof value === "object" && Object.keys(value).every((name) => name === "args" || name === "kwargs");
	return error || !(Array.isArray(value) || isCall) ? { error: error || "a list, or an object with args and kwargs" } : { call: Array.isArray(value) ? { args: value } : value };
}

export function Start() {
	const forms = useLook("forms", 0);
	const meta = useMeta();
	const like = route.value.query.get("like") || "";
	const [name, setName] = useState(route.value.query.get("workflow") || "");
	const [given, setGiven] = useState({});
	const [text, setText] = useState("[]");
	const [more, setMore] = useState({});
	const [error, setError] = useState(null);
	const [busy, setBusy] = useState(false);
	const [asJson, setJson] = useState(false);
	useEffect(() => {
		if (!like) return;
		Promise.all([get(`runs/${at(like)}`), getText(payloadOf(like, "arguments"))]).then(([run, text]) => { setName(run.workflow); setText(text); setJson(true); setMore({ tags: run.tags.join(" "), attributes: run.attributes }); }, setError);
	}, [like]);
	if (forms.error && !forms.data) return html`<${Failure} error=${forms.error} />`;
	if (!forms.data) return html`<${Loading} />`;
	const form = forms.data.workflows.find((one) => one.name === name);
	const typed = form?.is_known && !asJson;
	const wrong = typed ? Object.values(given).map((one) => one.error).find(Boolean) || "" : callOf(text).error || "";
	const set = (field) => (event) => setMore({ ...more, [field]: event.target.value });
	const flip = () => {
		if (!asJson) setText(indented(`{${argumentsOf(form, given)}}`));
		else {
			const { call } = callOf(text), shown = call && givenOf(form, call);
			if (!shown) { say("the form cannot show these arguments", "bad"); return; }
			setGiven(shown);
		}
		setJson(!asJson);
	};
	const send = async (event) => {
		event.preventDefault();
		setBusy(true); setError(null);
		const parts = [`"workflow": ${JSON.stringify(name)}`];
		if (typed) parts.push(argumentsOf(form, given));
		else {
			const { args = [], kwargs = {} } = callOf(text).call;
			parts.push(`"args": ${JSON.stringify(args)}, "kwargs": ${JSON.stringify(kwargs)}`);
		}
		if (more.attributes) parts.push(`"attributes": ${JSON.stringify(more.attributes)}`);
		for (const field of ["id", "start_delay", "queue", "on_closed"]) if (more[field]) parts.push(`"${field}": ${JSON.stringify(more[field])}`);
		if (more.tags?.trim()) parts.push(`"tags": ${JSON.stringify(more.tags.trim().split(/\s+/))}`);
		try { const found = await post("runs:start", `{${parts.join(", ")}}`); say(`${found.run.id} is in the file`); go(["runs", found.run.id]); } catch (failure) { setError(failure); setBusy(false); }
	};
	return html`<div class="page-head"><h1>Start a run</h1></div>
		${meta?.is_read_only ? html`<${Empty}><p>This interface only looks.</p></${Empty}>` : html`<form class="start panel" onSubmit=${send}>
			<${Field} label="Workflow"><input type="text" list="workflows" autocomplete="off" value=${name} onInput=${(event) => { setName(event.target.value); setGiven({}); }} /></${Field}><datalist id="workflows">${forms.data.workflows.map((one) => html`<option key=${one.name} value=${one.name} />`)}</datalist>
			${form?.text && html`<p class="dim pre">${form.text}</p>`}${form?.place && html`<p class="dim mono">${form.place}</p>`}
			${name && !form?.is_known && html`<p class="dim">Its code is not here, so its arguments are JSON; a worker that knows it takes the run.</p>`}
			${form?.is_known && html`<div class="under right"><${Button} class="quiet" onClick=${flip}>${asJson ? "as a form" : "as JSON"}<//></div>`}
			${name && (typed ? html`<${Parameters} key=${name} form=${form} given=${given} onGiven=${setGiven} />` : html`<${JsonEditor} label="Arguments" text=${text} onText=${setText} hint=${'a list, or {"args": [...], "kwargs": {...}}'} />`)}
			<details><summary>Id, delay, queue, tags</summary><div class="columns"><${Field} label="Id" hint="the same id means the same run"><input type="text" class="mono" value=${more.id || ""} onInput=${set("id")} /></${Field}><${Field} label="Begins after" hint="as in 5m"><input type="text" value=${more.start_delay || ""} onInput=${set("start_delay")} /></${Field}>
				<${Field} label="Queue"><input type="text" value=${more.queue || ""} onInput=${set("queue")} /></${Field}><${Field} label="Tags" hint="with spaces between"><input type="text" value=${more.tags || ""} onInput=${set("tags")} /></${Field}>
				<${Field} label="If the id's run has ended"><select onChange=${set("on_closed")}><option value="">return it</option><option>retry</option><option>restart</option><option>error</option></select></${Field}></div></details>
			<${Failure} error=${error} /><div class="actions"><button class="main" disabled=${busy || !name || !!wrong}>${busy ? "…" : "Start"}</button></div></form>`}`;
}
