"use strict";
(() => {
  const charts = JSON.parse(document.getElementById("charts").textContent);
  const narrow = innerWidth < 600;
  const draw = (spec, number) => {
    if (narrow) Object.assign(spec.config.legend, { columns: 2, labelLimit: 92 });
    return vegaEmbed(`#chart-${number}`, spec, {
      renderer: "svg", tooltip: { theme: "custom" }, ast: true, actions: false, bind: `#choice-${number}`,
    }).then((made) => {
      // what is said of a chart is said once, by the element around it
      made.view.container().querySelector("svg").setAttribute("aria-hidden", "true");
    }).catch((error) => {
      document.getElementById(`chart-${number}`).textContent = "This chart can't be drawn here; its table is below.";
      console.error(error);
    });
  };
  Promise.all(charts.map(draw)).then(() => { document.documentElement.dataset.drawn = charts.length; });
  // paper has no buttons
  addEventListener("beforeprint", () => {
    for (const one of document.querySelectorAll("details")) one.open = true;
  });
})();
