// What a page may do besides: choose the session, and hear how it goes.

const session = document.querySelector("commonweight-session");
const news = document.querySelector("#news");

session.addEventListener("progress", ({ detail }) => {
  news.textContent = `${detail.clientCount} taking part, ${Math.round(detail.samplesPerSecond)} samples a second`;
});
session.addEventListener("finished", ({ detail }) => {
  news.textContent = `${detail.outcome} at step ${detail.step}: ${detail.contributed.samples} samples came from here`;
});
session.addEventListener("error", ({ detail }) => console.error(detail.code, detail.message));

const query = new URLSearchParams(location.search);
session.setAttribute("engine", query.get("engine") ?? "auto");
session.href = query.get("session") ?? "";
