// One console. The ticket comes in the fragment, which browsers never send, and goes to the proxy as the
// first message of the websocket, which nobody logs.
import RFB from "./novnc/core/rfb.js";

const status = document.getElementById("status");
const ctrlAltDel = document.getElementById("ctrl-alt-del");
const ticket = location.hash.slice(1);

function show(state, text) {
  document.body.dataset.state = state;
  status.textContent = text;
  ctrlAltDel.disabled = state !== "open";
}

function open() {
  const socket = new WebSocket(`wss://${location.host}/websockify`);
  socket.binaryType = "arraybuffer";
  // Registered before noVNC takes the socket over, so that the ticket is the first thing sent.
  socket.addEventListener("open", () => socket.send(new TextEncoder().encode(ticket)));
  socket.addEventListener("close", (event) => {
    const reason = event.reason || (event.code === 1000 ? "the session ended" : "the connection was lost");
    show("closed", `Closed: ${reason}. Open the console again from its VM.`);
  });
  const rfb = new RFB(document.getElementById("screen"), socket);
  rfb.scaleViewport = true;
  rfb.addEventListener("connect", () => {
    show("open", "Connected");
    rfb.focus();
  });
  rfb.addEventListener("desktopname", (event) => show("open", event.detail.name));
  ctrlAltDel.addEventListener("click", () => rfb.sendCtrlAltDel());
}

if (ticket) {
  // Out of the address bar and the history; a ticket is good for one use anyway.
  history.replaceState(null, "", location.pathname);
  open();
} else {
  show("closed", "There is no ticket in this address. Open the console from its VM.");
}
