import { render } from "preact";
import { App } from "./parts/app";
import { whenBack } from "./state/connection";
import { open } from "./state/looking";
import "./style/page.css";
import "./style/controls.css";
import "./style/images.css";
import "./style/panels.css";

render(<App />, document.getElementById("page") as HTMLElement);
whenBack(() => void open());
void open();
