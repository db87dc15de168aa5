// Airflow's theme on these pages, and links out of the frame that Airflow shows them in.
(function () {
  "use strict";
  var root = document.documentElement;
  var outer = null;
  try {
    outer = window.parent !== window && window.parent.document ? window.parent.document : null;
  } catch (error) {
    outer = null; // another origin's frame: nothing of it is read
  }

  function chosen() {
    var own = outer && outer.documentElement.classList;
    if (own && own.contains("dark")) return "dark";
    if (own && own.contains("light")) return "light";
    try {
      var kept = window.localStorage.getItem("theme");
      if (kept === "dark" || kept === "light") return kept;
    } catch (error) {
      return ""; // storage is off: what the browser prefers holds
    }
    return "";
  }

  function follow() {
    var theme = chosen();
    if (theme) root.setAttribute("data-theme", theme);
    else root.removeAttribute("data-theme");
  }

  follow();
  if (outer) {
    new MutationObserver(follow).observe(outer.documentElement, { attributes: true, attributeFilter: ["class"] });
  }
  window.addEventListener("storage", follow);

  // The frame may not move its parent; the parent's own link may.
  document.addEventListener("click", function (event) {
    var link = event.target.closest ? event.target.closest("a[data-outside]") : null;
    if (!link || !outer || event.defaultPrevented) return;
    event.preventDefault();
    var copy = outer.createElement("a");
    copy.href = link.href;
    copy.rel = "noopener";
    if (event.ctrlKey || event.metaKey || link.host !== window.location.host) copy.target = "_blank";
    outer.body.appendChild(copy);
    copy.click();
    copy.remove();
  });
})();
