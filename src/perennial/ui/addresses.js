// MLflow's client prints addresses such as /#/experiments/1/runs/ID. What stands behind the # never reaches the server,
// so this leads from there to the page. Only digits, letters and the signs of an id are taken over.
"use strict";
(() => {
  const pages = [
    [/^#\/experiments\/\d+\/runs\/([\w-]+)/, "/runs/"],
    [/^#\/experiments\/(\d+)/, "/experiments/"],
    [/^#\/experiments\/?$/, "/experiments"],
  ];
  const go = () => {
    for (const [shape, path] of pages) {
      const found = shape.exec(location.hash);
      if (found) {
        location.replace(path + (found[1] ?? ""));
        return;
      }
    }
  };
  addEventListener("hashchange", go);
  go();
})();
