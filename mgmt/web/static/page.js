// The built-in page: a client of the public API. The session key lives in this tab only; the cookies that
// belong to it are out of reach of scripts. Whatever comes from the server is written as text, never as markup.
"use strict";

const REFRESH_MS = 4000;
const POLL_MS = 1000;
const STORE = "pileus-session";
const PENDING = 0;
const SUCCEEDED = 1;

const element = (id) => document.getElementById(id);
let session = JSON.parse(sessionStorage.getItem(STORE) || "null");
let timer = null;

class ApiError extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

async function call(command, parameters = {}) {
  const form = new URLSearchParams({ ...parameters, command, response: "json" });
  if (session) form.set("sessionkey", session.sessionkey);
  const answer = await fetch("/client/api", { method: "POST", body: form, credentials: "same-origin" });
  const body = Object.values(await answer.json())[0];
  if (!answer.ok) throw new ApiError(answer.status, body.errortext || answer.statusText);
  return body;
}

function say(text) {
  element("message").textContent = text || "";
  element("message").hidden = !text;
}

function node(tag, text, className) {
  const made = document.createElement(tag);
  if (text) made.textContent = text;
  if (className) made.className = className;
  return made;
}

// Runs what a button is for, with the button off meanwhile, and shows what went wrong.
async function attempt(work, button) {
  if (button) button.disabled = true;
  try {
    await work();
    say("");
  } catch (error) {
    if (error instanceof ApiError && error.status === 401 && session) leave();
    say(error.message);
  } finally {
    if (button) button.disabled = false;
  }
}

function button(label, work) {
  const made = node("button", label);
  made.type = "button";
  made.addEventListener("click", () => attempt(work, made));
  return made;
}

async function openConsole(machine) {
  // Opened before the call: browsers allow new windows only while they handle the click.
  const view = window.open("", "_blank");
  try {
    const answer = await call("createConsoleEndpoint", { virtualmachineid: machine.id });
    const url = new URL(answer.consoleendpoint.url);
    if (!["https:", "http:"].includes(url.protocol)) throw new Error("the console's address is not a web page");
    if (view) {
      view.opener = null;
      view.location.replace(url);
    } else {
      throw new Error("The browser refused to open a window for the console; allow pop-ups for this page");
    }
  } catch (error) {
    if (view) view.close();
    throw error;
  }
}

async function startJob(command, machine) {
  const { jobid } = await call(command, { id: machine.id });
  const line = node("li", "", "state");
  element("jobs").prepend(line);
  element("no-jobs").hidden = true;
  const started = Date.now();
  const follow = async () => {
    let job;
    try {
      job = await call("queryAsyncJobResult", { jobid });
    } catch (error) {
      line.textContent = `${command} ${machine.name}: ${error.message}`;
      return;
    }
    const seconds = Math.round((Date.now() - started) / 1000);
    if (job.jobstatus === PENDING) {
      line.textContent = `${command} ${machine.name}: ${seconds} s`;
      setTimeout(follow, POLL_MS);
      return;
    }
    const succeeded = job.jobstatus === SUCCEEDED;
    line.className = `state ${succeeded ? "succeeded" : "failed"}`;
    const words = succeeded ? "done" : (job.jobresult.errortext || "failed");
    line.textContent = `${command} ${machine.name}: ${words} after ${seconds} s`;
    refresh();
  };
  await follow();
}

function actions(machine, commands) {
  const cell = node("td");
  const running = machine.state === "Running";
  const view = button("Open console", () => openConsole(machine));
  view.disabled = !running;
  cell.append(view);
  if (commands && running) {
    cell.append(button("Stop", () => startJob("stopVirtualMachine", machine)));
    cell.append(button("Reboot", () => startJob("rebootVirtualMachine", machine)));
  }
  if (commands && machine.state === "Stopped") {
    cell.append(button("Start", () => startJob("startVirtualMachine", machine)));
  }
  return cell;
}

function row(machine, cells, commands) {
  const made = node("tr");
  made.dataset.id = machine.id;
  made.append(node("td", machine.displayname || machine.name), node("td", machine.state, `state ${machine.state}`));
  for (const text of cells) made.append(node("td", text));
  made.append(actions(machine, commands));
  return made;
}

// A table is replaced only if it changed, so that a button under the pointer does not vanish while it is pressed.
function fill(body, items, build) {
  const text = JSON.stringify(items);
  if (body.dataset.shown === text) return;
  body.dataset.shown = text;
  body.replaceChildren(...items.map(build));
}

async function listAll(command, key) {
  const found = await call(command, { listall: "true", page: 1, pagesize: 500 });
  return found[key] || [];
}

async function refreshMachines() {
  const machines = await listAll("listVirtualMachines", "virtualmachine");
  fill(element("machines"), machines, (machine) => row(machine, [
    (machine.nic || []).map((nic) => nic.ipaddress).filter(Boolean).join(", "),
    machine.serviceofferingname,
    machine.templatedisplaytext || machine.templatename,
  ], true));
  element("no-machines").hidden = machines.length > 0;
}

async function refreshSystem() {
  element("system").hidden = session.type !== "1";
  if (session.type !== "1") return;
  const [vms, routers] = await Promise.all([listAll("listSystemVms", "systemvm"), listAll("listRouters", "router")]);
  const machines = [...vms, ...routers.map((router) => ({ ...router, systemvmtype: "router" }))];
  fill(element("system-machines"), machines, (machine) => row(
    machine, [machine.systemvmtype, machine.publicip, machine.statereason], false,
  ));
}

async function refresh() {
  clearTimeout(timer);
  if (!session || session.code) return;
  try {
    await refreshMachines();
    await refreshSystem();
  } catch (error) {
    if (error instanceof ApiError && error.status === 401) leave();
    say(error.message);
  }
  clearTimeout(timer);
  if (session) timer = setTimeout(refresh, REFRESH_MS);
}

function show() {
  element("login").hidden = Boolean(session);
  element("code").hidden = !session?.code;
  element("cloud").hidden = !session || Boolean(session.code);
  element("logout").hidden = !session;
  element("who").textContent = session ? `${session.username} in account ${session.account}` : "";
}

function keep(changed) {
  session = changed;
  sessionStorage.setItem(STORE, JSON.stringify(session));
}

// Whoever must have a second factor and has none gets a secret first; it is shown until the first right code.
async function askForCode() {
  element("secret").hidden = session.code !== "new";
  if (session.code === "new") {
    const { setup2fa } = await call("setupUserTwoFactorAuthentication");
    element("secret").querySelector("code").textContent = setup2fa.secretcode;
  }
}

function leave() {
  session = null;
  sessionStorage.removeItem(STORE);
  for (const id of ["machines", "system-machines", "jobs"]) {
    element(id).replaceChildren();
    delete element(id).dataset.shown;
  }
  show();
}

element("login").addEventListener("submit", (event) => {
  event.preventDefault();
  const form = event.target;
  attempt(async () => {
    session = null;
    const { username, password, domain } = Object.fromEntries(new FormData(form));
    const login = await call("login", { username, password, domain });
    const { sessionkey, account, type } = login;
    const code = login.is2faenabled !== "true" ? null : login.providerfor2fa ? "known" : "new";
    keep({ sessionkey, account, type, username, code });
    form.reset();
    show();
    if (code) await askForCode();
    refresh();
  }, form.querySelector("button"));
});

element("code").addEventListener("submit", (event) => {
  event.preventDefault();
  const form = event.target;
  attempt(async () => {
    await call("validateUserTwoFactorAuthenticationCode", { codefor2fa: new FormData(form).get("code") });
    keep({ ...session, code: null });
    element("secret").querySelector("code").textContent = "";
    form.reset();
    show();
    refresh();
  }, form.querySelector("button"));
});

element("logout").addEventListener("click", () => attempt(async () => {
  await call("logout");
  leave();
}, element("logout")));

show();
if (session?.code) attempt(askForCode);
refresh();
