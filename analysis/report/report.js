"use strict";
(function () {
  var boxes = Array.from(document.querySelectorAll("input[data-filter]"));
  var trials = Array.from(document.querySelectorAll("details.trial"));
  function apply() {
    var on = boxes.filter(function (b) { return b.checked; }).map(function (b) { return b.dataset.filter; });
    var shown = 0;
    trials.forEach(function (t) {
      var marks = t.dataset.marks.split(" ");
      var hit = on.every(function (f) { return marks.indexOf(f) >= 0; });
      t.hidden = !hit;
      if (hit) { shown += 1; }
    });
    var count = document.getElementById("shown");
    if (count) { count.textContent = shown + " of " + trials.length; }
  }
  function reveal() {
    var target = location.hash && document.getElementById(location.hash.slice(1));
    if (!target) { return; }
    for (var e = target; e; e = e.parentElement) { if (e.tagName === "DETAILS") { e.open = true; e.hidden = false; } }
    target.scrollIntoView();
  }
  boxes.forEach(function (b) { b.addEventListener("change", apply); });
  window.addEventListener("hashchange", reveal);
  apply();
  reveal();
})();
