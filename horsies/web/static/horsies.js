// The script of the web interface. Pages work without it. It keeps times and regions up to date, shows times in the time
// zone of the browser, completes filters, and adds keys. The server sends versions of regions only; a region that has
// changed is taken from the page itself, which is fetched again with the rights of the user.
"use strict";

const root = new URL(document.documentElement.dataset.root, location.href);
const zoneKey = "horsies.zone";
const pollEachMs = 2000;
const announceEachMs = 3000;
const forgetAfterMs = 8000;
const silentAfterMs = 5000;

// --- Times

const serverAhead = Date.parse(document.documentElement.dataset.now) - Date.now();

function stored(key) {
  try {
    return localStorage.getItem(key);
  } catch {
    return null; // storage is switched off
  }
}

let zone = stored(zoneKey) === "utc" ? "utc" : "local";

function twoDigits(number) {
  return String(number).padStart(2, "0");
}

function clockText(time) {
  const at = zone === "utc" ? new Date(time.getTime() + time.getTimezoneOffset() * 60000) : time;
  const day = `${at.getFullYear()}-${twoDigits(at.getMonth() + 1)}-${twoDigits(at.getDate())}`;
  return `${day} ${twoDigits(at.getHours())}:${twoDigits(at.getMinutes())}:${twoDigits(at.getSeconds())}`;
}

function durationText(seconds) {
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  for (const [length, unit, part, partUnit] of [[86400, "d", 3600, "h"], [3600, "h", 60, "min"], [60, "min", 1, "s"]]) {
    if (whole >= length) {
      const rest = Math.floor((whole % length) / part);
      return `${Math.floor(whole / length)} ${unit}` + (rest ? ` ${rest} ${partUnit}` : "");
    }
  }
  return `${whole} s`;
}

function showTime(element) {
  const time = new Date(element.dateTime);
  const seconds = (Date.now() + serverAhead - time.getTime()) / 1000;
  const show = element.dataset.show;
  let text = clockText(time);
  if (show === "elapsed") text = durationText(Math.max(seconds, 0));
  else if (show === "since") text = seconds <= -1 ? `in ${durationText(-seconds)}` : `${durationText(Math.max(seconds, 0))} ago`;
  if (element.textContent !== text) element.textContent = text;
  if (show) element.title = `${clockText(time)} ${zone === "utc" ? "UTC" : "in your time zone"}`;
}

function showTimes(within = document) {
  within.querySelectorAll("time").forEach(showTime);
}

function addZoneButton() {
  const place = document.querySelector("[data-zone]");
  if (!place) return;
  const button = document.createElement("button");
  button.type = "button";
  const label = () => {
    button.textContent = zone === "utc" ? "UTC" : "local";
    button.title = "Switch between UTC and your time zone";
  };
  button.addEventListener("click", () => {
    zone = zone === "utc" ? "local" : "utc";
    try {
      localStorage.setItem(zoneKey, zone);
    } catch {
      // the choice lasts until the page is left
    }
    label();
    showTimes();
  });
  label();
  place.replaceWith(button);
}

// --- Regions

const view = location.href.slice(root.href.length).split("#")[0];
let isFetching = false;
let isWantedAgain = false;

function regions(within) {
  return new Map([...within.querySelectorAll("[data-region]")].map((each) => [each.dataset.region, each]));
}

function isInUse(region) {
  const active = document.activeElement;
  if (region.contains(active) && /^(INPUT|SELECT|TEXTAREA)$/.test(active.tagName)) return true;
  const selection = getSelection();
  return !selection.isCollapsed && region.contains(selection.anchorNode);
}

function replaceRegion(old, fresh) {
  const opened = new Map([...old.querySelectorAll("details[id]")].map((each) => [each.id, each.open]));
  const focused = old.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
  const scrolled = [...old.querySelectorAll(".scroll")].map((each) => each.scrollLeft);
  const made = document.importNode(fresh, true);
  made.querySelectorAll("details[id]").forEach((each) => {
    if (opened.has(each.id)) each.open = opened.get(each.id);
  });
  showTimes(made);
  old.replaceWith(made);
  made.querySelectorAll(".scroll").forEach((each, index) => (each.scrollLeft = scrolled[index] || 0));
  if (focused !== null) [...made.querySelectorAll("a")].find((each) => each.getAttribute("href") === focused)?.focus();
}

async function fetchPage() {
  if (isFetching) {
    isWantedAgain = true;
    return;
  }
  isFetching = true;
  try {
    const answer = await fetch(location.href, { cache: "no-store", credentials: "same-origin" });
    if (!answer.ok) {
      const reasons = { 401: "log in again: reload this page", 503: "no current data" };
      showState("lost", reasons[answer.status] || `the server answered ${answer.status}`);
      return;
    }
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = regions(page);
    for (const [name, old] of regions(document)) {
      const found = fresh.get(name);
      if (found && found.dataset.version !== old.dataset.version && !isInUse(old)) replaceRegion(old, found);
    }
    const isStale = page.querySelector(".fresh")?.classList.contains("is-stale");
    showState(isStale ? "lost" : "live", isStale ? "no current data" : "live");
  } catch {
    showState("lost", "the server does not answer");
  } finally {
    isFetching = false;
    if (isWantedAgain) {
      isWantedAgain = false;
      fetchPage();
    }
  }
}

let lastSignAt = Date.now();

function takeVersions(found) {
  lastSignAt = Date.now();
  if (!found) {
    fetchPage(); // the page is gone, or its data; the answer says which
    return;
  }
  const isOld = [...regions(document)].some(([name, each]) => found.regions[name] !== undefined && found.regions[name] !== each.dataset.version);
  if (isOld) fetchPage();
  else if (found.is_current) showState("live", "live");
  else showState("lost", "no current data");
}

function showState(kind, text) {
  const place = document.querySelector(".fresh");
  const label = document.querySelector("[data-fresh]");
  if (!place || !label) return;
  place.classList.toggle("is-live", kind === "live");
  place.classList.toggle("is-stale", kind === "lost");
  if (label.dataset.state !== text) {
    label.dataset.state = text;
    label.replaceChildren(text);
  }
}

// --- Which tab holds the stream: the visible one with the smallest id, for all visible tabs

const id = `${Date.now().toString(36)}-${Math.random().toString(36).slice(2)}`;
const channel = typeof BroadcastChannel === "undefined" ? null : new BroadcastChannel(`horsies ${root.pathname}`);
const others = new Map();
let stream = null;
let streamed = "";

function isVisible() {
  return document.visibilityState === "visible";
}

function say(message) {
  channel?.postMessage({ id, view, ...message });
}

function closeStream() {
  stream?.close();
  stream = null;
  streamed = "";
}

function chooseLeader() {
  for (const [other, each] of others) if (Date.now() - each.seenAt > forgetAfterMs) others.delete(other);
  const leads = isVisible() && [...others.keys()].every((other) => id < other);
  if (!leads) {
    closeStream();
    return;
  }
  const views = [...new Set([view, ...[...others.values()].map((each) => each.view)])].slice(0, 8);
  const wanted = new URL(`live?${views.map((each) => `view=${encodeURIComponent(each)}`).join("&")}`, root).href;
  if (wanted === streamed && stream?.readyState !== EventSource.CLOSED) return;
  closeStream();
  streamed = wanted;
  stream = new EventSource(wanted);
  stream.onmessage = (event) => {
    const versions = JSON.parse(event.data);
    say({ versions });
    takeVersions(versions[view]);
  };
}

function onMessage({ data }) {
  if (data.versions) {
    if (isVisible()) takeVersions(data.versions[view]);
    return;
  }
  if (data.isGone) others.delete(data.id);
  else {
    const isNew = !others.has(data.id);
    others.set(data.id, { view: data.view, seenAt: Date.now() });
    if (isNew && isVisible()) say({});
  }
  chooseLeader();
}

function onVisibility() {
  if (isVisible()) {
    say({});
    fetchPage();
  } else {
    say({ isGone: true });
  }
  if (channel) chooseLeader();
}

function startLive() {
  if (!document.querySelector("[data-region]")) return;
  document.addEventListener("visibilitychange", onVisibility);
  addEventListener("pagehide", () => {
    say({ isGone: true });
    closeStream();
  });
  addEventListener("pageshow", (event) => event.persisted && onVisibility());
  if (channel) {
    channel.onmessage = onMessage;
    if (isVisible()) say({});
    chooseLeader();
    setInterval(() => {
      if (isVisible()) say({});
      chooseLeader();
    }, announceEachMs);
  }
  setInterval(() => {
    if (isVisible() && (!channel || Date.now() - lastSignAt > silentAfterMs)) fetchPage();
  }, pollEachMs);
}

// --- Filter and keys

function addCompletion() {
  const input = document.getElementById("filter");
  const list = document.getElementById("completions");
  if (!input || !list) return;
  const terms = [...list.options].map((each) => each.value);
  input.addEventListener("input", () => {
    const start = input.value.lastIndexOf(" ") + 1;
    const word = input.value.slice(start).replace(/^-/, "");
    const sign = input.value.slice(start).startsWith("-") ? "-" : "";
    const matching = terms.filter((each) => each.startsWith(word)).slice(0, 30);
    list.replaceChildren(...matching.map((each) => {
      const option = document.createElement("option");
      option.value = input.value.slice(0, start) + sign + each;
      return option;
    }));
  });
}

const keys = [["/", "filter tasks"], ["?", "show these keys"]];

function pagesByKey() {
  const found = new Map();
  document.querySelectorAll(".top nav a").forEach((each) => {
    const letter = [...each.textContent.toLowerCase()].find((character) => !found.has(character));
    if (letter) found.set(letter, each);
  });
  return found;
}

function showKeys() {
  const dialog = document.createElement("dialog");
  const list = document.createElement("dl");
  const rows = [...keys, ...[...pagesByKey()].map(([letter, link]) => [`g ${letter}`, link.textContent])];
  for (const [key, text] of rows) {
    const row = document.createElement("div");
    const name = document.createElement("dt");
    const meaning = document.createElement("dd");
    name.append(key);
    meaning.append(text);
    row.append(name, meaning);
    list.append(row);
  }
  dialog.append(list);
  dialog.className = "keys";
  dialog.addEventListener("close", () => dialog.remove());
  dialog.addEventListener("click", () => dialog.close());
  document.body.append(dialog);
  dialog.showModal();
}

let isGoing = false;

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
  if (isGoing) {
    isGoing = false;
    pagesByKey().get(event.key)?.click();
  } else if (event.key === "g") {
    isGoing = true;
  } else if (event.key === "?") {
    showKeys();
  } else if (event.key === "/") {
    event.preventDefault();
    const input = document.getElementById("filter");
    if (input) input.focus();
    else location.href = new URL("tasks#filter", root).href;
  }
}

if (location.hash === "#filter") document.getElementById("filter")?.focus();
addZoneButton();
addCompletion();
showTimes();
setInterval(showTimes, 1000);
document.addEventListener("keydown", onKey);
startLive();
