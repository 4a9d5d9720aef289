// The page's entry: the panel, by the way of the server that has served it.

import { mount } from "./panel.js";
import { serverTransport } from "./server.js";

const place = document.getElementById("panel");
// The page stands at …/illama/ui/.
if (place) mount(place, serverTransport(new URL("../", location.origin + location.pathname).href));
